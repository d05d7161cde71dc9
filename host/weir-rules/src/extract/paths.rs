//! The paths that are asked for, as a tree, and the walk of one payload along it.
//!
//! The walk records where the value of each path stands; it converts nothing. Of duplicate keys the last wins, with
//! all below it.

use std::ops::Range;

use hashbrown::HashMap;

use super::{
    scan::{MAX_DEPTH, Scanner, Span, Token},
    text::unescape,
};
use crate::program::{JsonPath, Step};

/// Keys of one node from which on they are searched by halves.
const FEW_KEYS: usize = 8;

/// A tree of paths. Each distinct path has a slot.
#[derive(Debug, Clone)]
pub(crate) struct PathTree {
    root: Node,
    slots: usize,
}

#[derive(Debug, Clone)]
struct Node {
    /// By length, then head.
    keys: Vec<Key>,
    /// A bit for each length that a key has (63 stands for all above): most keys of a payload fail here.
    lengths: u64,
    indexes: Vec<(usize, Node)>,
    slot: Option<usize>,
    /// The slots of this node and all below it.
    below: Range<usize>,
}

#[derive(Debug, Clone)]
struct Key {
    /// The first eight bytes, so that most comparisons are of one word.
    head: u64,
    text: Box<str>,
    node: Node,
}

impl PathTree {
    /// The tree of `paths`, and for each of them its slot.
    pub(crate) fn new<'a>(paths: impl Iterator<Item = &'a JsonPath>) -> (Self, Vec<usize>) {
        let mut slots = Vec::new();
        let mut reachable = Vec::new();
        for (number, JsonPath(steps)) in paths.enumerate() {
            slots.push(usize::MAX);
            // What lies deeper than any payload may go is never found; the tree stays shallow enough to recurse on.
            if steps.len() <= MAX_DEPTH as usize {
                reachable.push((&**steps, number));
            }
        }
        let mut next = 0;
        let root = Node::new(&reachable, &mut slots, &mut next);
        for slot in slots.iter_mut().filter(|slot| **slot == usize::MAX) {
            *slot = next;
        }
        (Self { root, slots: next + 1 }, slots)
    }

    /// Reads a whole text and fills `slots` with the place of each path's value. `None`: the text is malformed, and the
    /// slots mean nothing.
    pub(crate) fn walk(&self, text: &str, slots: &mut Vec<Span>) -> Option<()> {
        slots.clear();
        slots.resize(self.slots, Span::MISSING);
        let mut walk = Walk { scanner: Scanner::new(text.as_bytes()), text, slots };
        walk.scanner.peek_solid();
        walk.value(&self.root, 0)?;
        walk.scanner.is_finished().then_some(())
    }
}

/// The rest of a path, and its number.
type Rest<'a> = (&'a [Step], usize);

impl Node {
    fn new(paths: &[Rest<'_>], slots: &mut [usize], next: &mut usize) -> Self {
        let first = *next;
        let mut slot = None;
        let mut children: Vec<(&Step, Vec<Rest<'_>>)> = Vec::new();
        let mut known = HashMap::new();
        for (steps, number) in paths {
            let Some((step, rest)) = steps.split_first() else {
                slot = Some(first);
                if let Some(slot) = slots.get_mut(*number) {
                    *slot = first;
                }
                continue;
            };
            let child = *known.entry(step).or_insert_with(|| {
                children.push((step, Vec::new()));
                children.len() - 1
            });
            if let Some((_, paths)) = children.get_mut(child) {
                paths.push((rest, *number));
            }
        }
        *next += usize::from(slot.is_some());

        let (mut keys, mut indexes, mut lengths) = (Vec::new(), Vec::new(), 0);
        for (step, paths) in children {
            let node = Node::new(&paths, slots, next);
            match step {
                Step::Key(text) => {
                    lengths |= length_bit(text.len());
                    keys.push(Key { head: head(text.as_bytes()), text: text.clone(), node });
                }
                Step::Index(index) => indexes.push((*index as usize, node)),
            }
        }
        keys.sort_by_key(|key| (key.text.len(), key.head));
        Self { keys, lengths, indexes, slot, below: first..*next }
    }

    #[inline]
    fn find(&self, key: &[u8]) -> Option<&Node> {
        if self.lengths & length_bit(key.len()) == 0 {
            return None;
        }
        let head = head(key);
        let candidates = if self.keys.len() <= FEW_KEYS {
            self.keys.as_slice()
        } else {
            let before = self.keys.partition_point(|other| (other.text.len(), other.head) < (key.len(), head));
            self.keys.get(before..)?
        };
        let same = |other: &&Key| {
            other.head == head && other.text.len() == key.len() && (key.len() <= 8 || other.text.as_bytes() == key)
        };
        candidates.iter().find(same).map(|found| &found.node)
    }
}

fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// The first eight bytes, zeros where there are fewer.
#[inline]
fn head(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

struct Walk<'a> {
    scanner: Scanner<'a>,
    text: &'a str,
    slots: &'a mut [Span],
}

impl Walk<'_> {
    #[inline]
    fn value(&mut self, node: &Node, depth: u32) -> Option<()> {
        let start = self.scanner.at();
        let token = match self.scanner.peek() {
            b'{' if !node.keys.is_empty() => self.object(node, depth + 1)?,
            b'[' if !node.indexes.is_empty() => self.array(node, depth + 1)?,
            _ => {
                self.forget(node);
                self.scanner.value(depth)?
            }
        };
        if let Some(slot) = node.slot {
            *self.slots.get_mut(slot)? = Span { token, start, end: self.scanner.at() };
        }
        Some(())
    }

    /// A key met again takes back what was found below it before.
    #[inline]
    fn forget(&mut self, node: &Node) {
        if node.below.len() > 1 || node.slot.is_none() {
            self.slots.get_mut(node.below.clone()).unwrap_or_default().fill(Span::MISSING);
        }
    }

    fn object(&mut self, node: &Node, depth: u32) -> Option<Token> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.forget(node);
        self.scanner.bump();
        if self.scanner.peek_solid() == b'}' {
            self.scanner.bump();
            return Some(Token::Object);
        }
        loop {
            let key = self.scanner.key()?;
            let child = if key.token == Token::String {
                node.find(key.inner(self.text).as_bytes())
            } else {
                let mut plain = String::new();
                unescape(key.inner(self.text), &mut plain);
                node.find(plain.as_bytes())
            };
            match child {
                Some(child) => self.value(child, depth)?,
                None => {
                    self.scanner.value(depth)?;
                }
            }
            let byte = self.scanner.peek_solid();
            self.scanner.bump();
            match byte {
                b',' => self.scanner.peek_solid(),
                b'}' => return Some(Token::Object),
                _ => return None,
            };
        }
    }

    fn array(&mut self, node: &Node, depth: u32) -> Option<Token> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.forget(node);
        self.scanner.bump();
        if self.scanner.peek_solid() == b']' {
            self.scanner.bump();
            return Some(Token::Array);
        }
        for index in 0.. {
            match node.indexes.iter().find(|(wanted, _)| *wanted == index) {
                Some((_, child)) => self.value(child, depth)?,
                None => {
                    self.scanner.value(depth)?;
                }
            }
            let byte = self.scanner.peek_solid();
            self.scanner.bump();
            match byte {
                b',' => self.scanner.peek_solid(),
                b']' => return Some(Token::Array),
                _ => return None,
            };
        }
        None
    }
}
