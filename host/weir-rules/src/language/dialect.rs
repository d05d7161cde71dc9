//! What sqlparser must know about the rule language: which characters make a name, and when a word is an alias.
//!
//! A name is a JSON key, so that nearly every word may be one. Quotes are as in standard SQL: `'text'`, `"name"`.

use sqlparser::{
    ast::Expr,
    dialect::Dialect,
    keywords::{Keyword, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_TABLE_ALIAS},
    parser::{Parser, ParserError},
    tokenizer::Token,
};

#[derive(Debug)]
pub(crate) struct RuleDialect;

impl Dialect for RuleDialect {
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        false
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        use Keyword::{CASE, EXISTS, FROM, NOT, SELECT, WHERE};
        matches!(keyword, CASE | EXISTS | FROM | NOT | SELECT | WHERE)
    }

    /// `interval` is the name of a field where no interval follows.
    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let [first, second] = parser.peek_tokens_ref();
        let Token::Word(word) = &first.token else { return None };
        let begins = matches!(second.token, Token::SingleQuotedString(_) | Token::Number(..));
        if word.keyword != Keyword::INTERVAL || begins {
            return None;
        }
        let ident = word.to_ident(first.span);
        parser.advance_token();
        Some(Ok(Expr::Identifier(ident)))
    }

    /// Without `AS`, a word is an alias only where the item ends behind it; so a misspelt `FROM` is an error at its
    /// own place and not at the word behind it.
    fn is_select_item_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        explicit
            || (!RESERVED_FOR_COLUMN_ALIAS.contains(keyword)
                && match &parser.peek_token_ref().token {
                    Token::Comma | Token::EOF | Token::RParen => true,
                    Token::Word(word) => word.keyword == Keyword::FROM,
                    _ => false,
                })
    }

    /// As for items: a misspelt `WHERE` is no alias.
    fn is_table_factor_alias(&self, explicit: bool, keyword: &Keyword, parser: &mut Parser) -> bool {
        explicit
            || (!RESERVED_FOR_TABLE_ALIAS.contains(keyword)
                && match &parser.peek_token_ref().token {
                    Token::Comma | Token::EOF | Token::RParen => true,
                    Token::Word(word) => RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword),
                    _ => false,
                })
    }
}
