//! The command line: one file per verb. Verbs speak to a running hub by its REST API; `serve` is the hub.
//!
//! Commands decide nothing: what is allowed, valid or known is the hub's to say.

mod apply;
mod authority;
mod backfill;
mod backtest;
mod binding;
mod broadcast;
mod call;
mod certificate;
mod completion;
mod create;
mod delete;
mod describe;
mod device;
mod documents;
mod enable;
pub(crate) mod failure;
mod get;
pub(crate) mod hub;
mod lines;
mod mqtt;
pub(crate) mod output;
mod period;
mod pin;
mod plugin;
mod progress;
mod publish;
mod query;
mod registration;
mod replay;
mod set;
mod shadow;
mod status;
mod subscribe;
mod tail;
mod test;
mod trace;

use std::{future::Future, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{bench, serve};
use failure::{EXIT_CODES, Failure};
use hub::Target;
use output::{Format, Output};

/// An IoT hub: devices connect by MQTT, SQL rules run over their messages.
///
/// `weir serve` runs the hub; every other command speaks to a running one.
#[derive(Debug, Parser)]
#[command(name = "weir", version, after_long_help = EXIT_CODES, subcommand_required = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the hub
    Serve(serve::Args),
    /// Make a product, topic class, device, token, certificate, key or secret; bind a device to a gateway; pin a
    /// certificate; register an authority
    #[command(subcommand)]
    Create(create::What),
    /// Connect a device
    #[command(subcommand)]
    Device(device::What),
    /// Upload a file of rules, sinks and indexes; what is unchanged stays as it is
    Apply(apply::Args),
    /// Change a shadow, whether a product's devices may register, or whether a device may again
    #[command(subcommand)]
    Set(set::What),
    /// List products, topic classes, devices, a gateway's bindings, shadows, broadcasts, certificates, authorities, rules,
    /// sinks, plugins, indexes, keys, secrets or dead letters, or print the hub's CA
    #[command(subcommand)]
    Get(get::What),
    /// Show one product, device, shadow, broadcast, authority, rule, sink, plugin or dead letter with everything known of it
    #[command(subcommand)]
    Describe(describe::What),
    /// Delete a product, topic class, device, binding, token, shadow, pin, authority, key, secret, rule, sink, plugin or
    /// dead letter, revoke a certificate, or cancel a broadcast
    #[command(subcommand)]
    Delete(delete::What),
    /// Let a rule run, or a device or a product's devices connect, again
    #[command(subcommand)]
    Enable(enable::What),
    /// Stop a rule, or keep a device or a product's devices out
    #[command(subcommand)]
    Disable(enable::What),
    /// Make, build, try, sign and upload plugins
    #[command(subcommand)]
    Plugin(plugin::What),
    /// Send dead letters to their action again
    #[command(subcommand)]
    Replay(replay::What),
    /// Send a device something and wait for its answer
    Call(call::Args),
    /// Send every device of a product something
    Broadcast(broadcast::Args),
    /// Publish a message by MQTT, as a device or an application
    Pub(publish::Args),
    /// Subscribe by MQTT, as a device or an application, and print what comes
    Sub(subscribe::Args),
    /// Follow the messages that the hub accepts
    Tail(tail::Args),
    /// Follow what becomes of messages: refused or accepted, what each rule finds in them, and what targets say
    Trace(trace::Args),
    /// Run SQL over the messages that the hub holds, in its log and its lake
    Query(query::Args),
    /// Run a rule over past messages, and show what its targets would have got; nothing is sent
    Backtest(backtest::Args),
    /// Send what a rule makes of past messages to its targets; what was sent under a name is not sent under it again
    Backfill(backfill::Args),
    /// Run files of cases for rules, without a hub
    Test(test::Args),
    /// Show how the hub is
    Status,
    /// Measure a hub of its own on this machine, beside mosquitto if it is installed
    Bench(bench::Args),
    /// Print a completion script for a shell
    Completion(completion::Args),
}

/// Runs the command that the process was started with.
pub(crate) fn main() -> ExitCode {
    // Usage errors end the process here, with code 2.
    let Cli { target, output, command } = Cli::parse();
    // Fails only if it was done before.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    match run(command, &target, Output { format: output }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command, target: &Target, out: Output) -> Result<(), Failure> {
    if matches!(out.format, Format::Csv | Format::Arrow) && !matches!(command, Command::Query(_)) {
        return Err(Failure::usage("csv and arrow are for weir query; other commands print a table or json"));
    }
    match command {
        Command::Serve(args) => serve::run(args, target, out),
        Command::Completion(args) => completion::run(&args, out),
        Command::Bench(args) => bench::run(args, out),
        Command::Test(args) => test::run(&args, out),
        Command::Create(what) => wait(create::run(what, &target.hub()?, out)),
        Command::Device(what) => wait(device::run(what, &target.hub()?, out)),
        Command::Apply(args) => wait(apply::run(args, &target.hub()?, out)),
        Command::Set(what) => wait(set::run(what, &target.hub()?, out)),
        Command::Call(args) => wait(call::run(args, &target.hub()?, out)),
        Command::Broadcast(args) => wait(broadcast::run(args, &target.hub()?, out)),
        Command::Get(what) => wait(get::run(what, &target.hub()?, out)),
        Command::Describe(what) => wait(describe::run(what, &target.hub()?, out)),
        Command::Delete(what) => wait(delete::run(what, &target.hub()?, out)),
        Command::Enable(what) => wait(enable::run(what, true, &target.hub()?, out)),
        Command::Disable(what) => wait(enable::run(what, false, &target.hub()?, out)),
        Command::Plugin(what) => plugin::run(what, target, out),
        Command::Replay(what) => wait(replay::run(what, &target.hub()?, out)),
        Command::Pub(args) => wait(publish::run(args, target, out)),
        Command::Sub(args) => wait(subscribe::run(args, target, out)),
        Command::Tail(args) => wait(tail::run(args, &target.hub()?, out)),
        Command::Trace(args) => wait(trace::run(args, &target.hub()?, out)),
        Command::Query(args) => wait(query::run(args, &target.hub()?, out)),
        Command::Backtest(args) => wait(backtest::run(args, &target.hub()?, out)),
        Command::Backfill(args) => wait(backfill::run(args, &target.hub()?, out)),
        Command::Status => wait(status::run(&target.hub()?, out)),
    }
}

/// Runs a command's I/O on this thread.
fn wait(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::refused(format!("cannot start: {error}")))?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn singular_and_plural_and_both_ways_to_write_a_device() {
        for line in [
            "weir get products",
            "weir get product",
            "weir get devices A1B2C3D4E5 -o json",
            "weir get deadletters --rule r",
            "weir describe device A1B2C3D4E5 dev",
            "weir describe devices A1B2C3D4E5/dev",
            "weir device connect A1B2C3D4E5 dev --expires-in 1h",
            "weir delete deadletters 1 2 3",
            "weir disable rules r",
            "weir replay deadletter 1 2",
            "weir replay deadletters --rule r",
            "weir create key app --subscribe A1B2C3D4E5/+/event --publish A1B2C3D4E5/+/control",
            "weir create product --schema temp:number,status:text",
            "weir create product --type gateway",
            "weir create binding GATEWAY001/g A1B2C3D4E5/dev A1B2C3D4E5/dev2",
            "weir get bindings GATEWAY001 g",
            "weir delete bindings GATEWAY001/g A1B2C3D4E5/dev",
            "weir create certificate A1B2C3D4E5 dev --out dev --valid-for 1year",
            "weir create device A1B2C3D4E5/dev --certificate --out dev",
            "weir get ca",
            "weir get shadow A1B2C3D4E5 dev",
            "weir describe shadow A1B2C3D4E5/dev --name fw",
            "weir set shadow A1B2C3D4E5 dev --desired {\"fw\":\"1.2\"} --version 3 --name fw",
            "weir set shadow A1B2C3D4E5/dev --reported null --replace",
            "weir delete shadow A1B2C3D4E5 dev --version 3",
            "weir call A1B2C3D4E5 dev on? --timeout 5s",
            "weir call A1B2C3D4E5/dev on?",
            "weir broadcast A1B2C3D4E5 on? --qos 0 --no-wait",
            "weir get broadcasts A1B2C3D4E5",
            "weir describe broadcast A1B2C3D4E5 1",
            "weir delete broadcast A1B2C3D4E5 1",
            "weir set product A1B2C3D4E5 --registration any --limit 9 --new-secret",
            "weir set product A1B2C3D4E5 --credential certificate",
            "weir set product A1B2C3D4E5 --registration existing --read-secret",
            "weir set device A1B2C3D4E5 dev --may-register",
            "weir describe product A1B2C3D4E5 --show-secrets",
            "weir get certificates A1B2C3D4E5",
            "weir get certificates A1B2C3D4E5 dev",
            "weir create authority A1B2C3D4E5 --certificate ca.pem --proof proof.pem",
            "weir create authority A1B2C3D4E5 --certificate ca.pem --trusted",
            "weir get authorities A1B2C3D4E5",
            "weir describe authority A1B2C3D4E5 f1",
            "weir delete authority A1B2C3D4E5 f1",
            "weir create pin A1B2C3D4E5 dev --certificate dev.pem",
            "weir create pin A1B2C3D4E5/dev --fingerprint f1",
            "weir delete pin A1B2C3D4E5 dev --fingerprint f1",
            "weir delete certificate f1 f2",
            "weir --server http://h:1 --key a:b get rules",
            "weir get rules --server http://h:1 --key a:b",
            "weir bench --scenario fan-in,fan-out --qos 0,2 --broker mosquitto -o json",
            "weir bench connections --count 9 --tls --ws --subscribe",
            "weir query SELECT --from -7d --to now -o csv",
            "weir query SELECT -o arrow",
            "weir backtest rule.sql --from -7d --compare current",
            "weir backtest overheat --from 2026-01-01T00:00:00Z --to -1h --samples 3 -o json",
            "weir backfill overheat --sink archive --name may --from 2026-05-01T00:00:00Z --to 2026-06-01T00:00:00Z",
            "weir bench backtest --messages 1000 --duckdb python3",
            "weir plugin new --lang rust my-sink",
            "weir plugin build my-sink",
            "weir plugin push my_sink.wasm --name other",
            "weir plugin keygen --out ops.key",
            "weir plugin sign my_sink.wasm --key-file ops.key",
            "weir plugin test my_sink.wasm --with url=http://x --grant http=x:80 --row {}",
            "weir get plugins",
            "weir describe plugin my_sink",
            "weir delete plugin my_sink",
            "weir bench shadows --shadows 9 --updates 90 --batch 3",
            "weir serve --mqtt-port 0 --set log.sync=never --data /x",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "weir",
            "weir get",
            "weir replay deadletters",
            "weir create product --schema temp",
            "weir create product --type hub",
            "weir create binding GATEWAY001/g",
            "weir pub t",
            "weir set shadow A1B2C3D4E5 dev",
            "weir set shadow A1B2C3D4E5 dev --desired {",
            "weir set shadow A1B2C3D4E5 dev --desired 1",
            "weir call A1B2C3D4E5/dev",
            "weir broadcast A1B2C3D4E5",
            "weir set product A1B2C3D4E5",
            "weir set product A1B2C3D4E5 --new-secret --read-secret",
            "weir set device A1B2C3D4E5/dev",
            "weir query SELECT --from yesterday",
            "weir backtest",
            "weir backfill r",
            "weir backtest r --compare other",
            "weir bench --qos 3",
            "weir bench connections --psk --tls",
            "weir create device A1B2C3D4E5/d --out d",
            "weir create pin A1B2C3D4E5/d",
            "weir create pin A1B2C3D4E5/d --certificate c --fingerprint f",
            "weir create authority A1B2C3D4E5 --certificate c --proof p --trusted",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_err();
        }
    }
}
