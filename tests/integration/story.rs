//! README's story, run from README's own text, with mosquitto's clients as the devices.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{
    SOON, eventually,
    hub::{Hub, PRODUCT, program},
    root,
};

/// README and its example, in a folder of their own: with the built program in the place of the released one, and a
/// free port in the place of 9000.
struct Story<'a> {
    hub: &'a Hub,
    folder: tempfile::TempDir,
    blocks: Vec<String>,
}

impl<'a> Story<'a> {
    fn read(hub: &'a Hub) -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let example = folder.path().join("examples/overheat");
        fs::create_dir_all(&example).unwrap();
        for entry in fs::read_dir(root().join("examples/overheat")).unwrap() {
            let path = entry.unwrap().path();
            let copy = example.join(path.file_name().unwrap());
            fs::write(&copy, fs::read_to_string(&path).unwrap().replace("9000", &port)).unwrap();
        }
        let readme = fs::read_to_string(root().join("README.md")).unwrap();
        let programs = program().parent().unwrap().to_str().unwrap().to_owned();
        let shell = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
        let blocks = shell.map(|block| block.replace("$HOME/.cache/weir/target/release", &programs)).collect();
        Self { hub, folder, blocks }
    }

    fn bash(&self, script: &str) -> Command {
        let mut bash = Command::new("bash");
        self.hub.introduce(&mut bash);
        let path = format!("{}:{}", program().parent().unwrap().display(), std::env::var("PATH").unwrap());
        bash.args(["-euo", "pipefail", "-c", script]).current_dir(self.folder.path()).env("PATH", path);
        bash.stdin(Stdio::null());
        bash
    }

    /// Runs a block of README, or a line that a command printed. Gives what it printed.
    fn run(&self, script: &str) -> String {
        let output = self.bash(script).output().unwrap();
        let (said, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{said}\n{complaint}");
        said
    }

    /// Starts something that goes on, as in a terminal of its own.
    fn terminal(&self, name: &str, command: &str) -> Terminal {
        let file = self.folder.path().join(name);
        let output = File::create(&file).unwrap();
        let errors = output.try_clone().unwrap();
        let process = self.bash(&format!("exec {command}")).stdout(output).stderr(errors).spawn().unwrap();
        Terminal { process, file }
    }

    /// The server of the example, ready.
    fn receiver(&self, name: &str, arguments: &str) -> Terminal {
        let terminal = self.terminal(name, &format!("{} {arguments}", self.blocks[1].trim()));
        terminal.shows("listening");
        terminal
    }
}

struct Terminal {
    process: Child,
    file: PathBuf,
}

impl Terminal {
    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }

    /// Waits for a line that holds `part`.
    fn shows(&self, part: &str) -> String {
        eventually(&format!("a terminal shows {part:?}"), SOON, || {
            self.text().lines().find(|line| line.contains(part)).map(str::to_owned)
        })
    }
}

/// Ctrl-C, or nearly.
impl Drop for Terminal {
    fn drop(&mut self) {
        let _may_have_ended = self.process.kill();
        let _no_more_to_do = self.process.wait();
    }
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// What stands after `heading` in a line of `text`, for each such line.
fn after<'t>(text: &'t str, heading: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.trim().strip_prefix(heading)).map(str::trim).collect()
}

// [MQTT-7.0.0-2]: clients that know nothing of Weir.
#[test]
fn the_readme_tells_the_truth() {
    let hub = Hub::start();
    let story = Story::read(&hub);
    story.run(&story.blocks[0]);
    let server = story.receiver("server", "");

    let printed = story.run(&story.blocks[2]);
    let (subscribe, publish) = (after(&printed, "Subscribe:"), after(&printed, "Publish:"));
    let panel = story.terminal("panel", &format!("stdbuf -oL {}", subscribe[0]));
    let publish = |temp: &str| story.run(&publish[1].replace("31.5", temp));
    // mosquitto_sub does not say when it listens, but the hub does.
    let control = format!("{PRODUCT}/panel/control");
    eventually("the panel listens", SOON, || {
        let session = hub.session("panel")?;
        session["subscriptions"].as_array()?.iter().any(|filter| *filter == control).then_some(())
    });
    publish("31.5");
    let row = panel.shows("31.5");
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&format!("```json\n{row}\n```")), "README does not show {row}");

    let told = server.shows("accepted");
    let body: Value = serde_json::from_str(told.strip_prefix("accepted ").unwrap()).unwrap();
    assert_eq!(body["payload"], serde_json::from_str::<Value>(&row).unwrap());
    assert_eq!(body["productid"], PRODUCT);
    assert_eq!(body["devicename"], "sensor");
    assert_eq!(body["topic"], format!("{PRODUCT}/sensor/event"));
    assert!(["seq", "timestamp", "timemills"].iter().all(|field| body[*field].is_i64()), "{body}");

    let looked = story.run(&story.blocks[3]);
    assert!(looked.contains("sensor") && looked.contains("31.5") && looked.contains("webhook"), "{looked}");

    // The server goes, and the panel does not notice.
    drop(server);
    publish("32.5");
    panel.shows("32.5");
    eventually("the action is paused", SOON, || {
        let state = hub.action("overheat", 1);
        (state["state"] == "paused" && state["pending"] == 1).then_some(())
    });
    assert!(story.run("weir describe rule overheat").contains("paused"));
    let server = story.receiver("server again", "");
    let back = eventually("the row arrives", Duration::from_secs(60), || {
        server.text().lines().find(|line| line.contains("32.5")).map(str::to_owned)
    });
    assert!(back.starts_with("accepted"));

    publish("2000");
    eventually("the row is put aside", Duration::from_secs(45), || {
        (hub.get("/v1/deadletters")["items"] != json!([])).then_some(())
    });
    let aside = story.run(&story.blocks[4]);
    assert!(aside.contains("400") && aside.contains("overheat") && aside.contains("refused again"), "{aside}");
    drop(server);
    let server = story.receiver("believing server", "--limit 5000");
    story.run("weir replay deadletter --rule overheat");
    assert!(server.shows("2000").starts_with("accepted"));
    assert_eq!(hub.get("/v1/deadletters")["items"], json!([]));
}

#[test]
fn the_readme_shows_the_rule_of_the_example() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let rule = fs::read_to_string(root().join("examples/overheat/rules.sql")).unwrap();
    assert!(readme.contains(&format!("```sql\n{rule}```")));
}

#[test]
fn the_example_runs_by_itself() {
    let hub = Hub::start();
    let story = Story::read(&hub);
    story.run(&story.blocks[0]);
    let server = story.receiver("server", "");
    story.run("weir apply -f examples/overheat/rules.sql");
    story.run("sh examples/overheat/device.sh A1B2C3D4E5 sensor 0");
    // 31 to 35 are too hot.
    for temp in 31..=35 {
        server.shows(&format!("\"temp\":{temp},"));
    }
    assert!(!server.text().contains("\"temp\":30,"));
    assert_eq!(hub.count(&format!("{PRODUCT}/sensor/event")), 11);
}
