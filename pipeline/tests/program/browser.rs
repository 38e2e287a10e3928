//! Chromium without a window, driven over WebDriver.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;

/// How long the page may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keys of WebDriver.
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";
pub const ESCAPE: &str = "\u{e00c}";

/// A browser with one page, closed when dropped.
pub struct Browser {
    session: String,
    agent: ureq::Agent,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Opens a page of `width` x `height` pixels.
    pub fn open(width: u32, height: u32) -> Self {
        for tool in ["chromium", "chromedriver"] {
            let path = Path::new("/usr/bin").join(tool);
            assert!(
                path.exists(),
                "{tool} is missing: run `setup/setup.sh browser`"
            );
        }
        let mut driver = Command::new("chromedriver");
        driver.arg("--port=0").stdin(Stdio::null());
        let driver = Process::start(driver);
        let started = driver.line("successfully on port ");
        let (_, port) = started.rsplit_once(" on port ").unwrap();
        let base = format!("http://127.0.0.1:{}", port.strip_suffix('.').unwrap());
        let profile = tempfile::tempdir().unwrap();
        let data = profile.path().join("data");
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build()
            .new_agent();
        let mut browser = Self {
            session: base,
            agent,
            _driver: driver,
            _profile: profile,
        };
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": {
                "binary": "/usr/bin/chromium",
                "args": [
                    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                    "--disable-background-networking", "--disable-component-update",
                    format!("--user-data-dir={}", data.display()),
                ],
            },
        } } });
        let session = browser.post("/session", &wanted);
        let id = session["sessionId"].as_str().unwrap();
        browser.session = format!("{}/session/{id}", browser.session);
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        browser.devtools("Emulation.setDeviceMetricsOverride", &size);
        browser
    }

    /// Goes to `address`.
    pub fn go(&self, address: &str) {
        self.post("/url", &json!({ "url": address }));
    }

    /// What `script`, the body of a function, returns.
    pub fn run(&self, script: &str) -> Value {
        self.try_run(script)
            .unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// The same, or what went wrong.
    pub fn try_run(&self, script: &str) -> Result<Value, String> {
        self.try_post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until `script` returns something that is not false, and returns that.
    pub fn until(&self, script: &str) -> Value {
        let begun = Instant::now();
        loop {
            let value = self.run(script);
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return value;
            }
            if begun.elapsed() > PATIENCE {
                let page = self.run("return document.body.innerText");
                panic!(
                    "not within {PATIENCE:?}: {script}\n{page}\n{:#?}",
                    self.faults()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses and releases a key.
    pub fn press(&self, key: &str) {
        let actions = json!([{ "type": "key", "id": "keyboard", "actions": [
            { "type": "keyDown", "value": key }, { "type": "keyUp", "value": key },
        ] }]);
        self.post("/actions", &json!({ "actions": actions }));
    }

    /// Calls a method of Chromium's own protocol.
    pub fn devtools(&self, method: &str, parameters: &Value) -> Value {
        let call = json!({ "cmd": method, "params": parameters });
        self.post("/goog/cdp/execute", &call)
    }

    /// Errors on the console since the last call: of scripts, of the network, and of what the page's policy refused.
    pub fn faults(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().unwrap().iter();
        let severe = entries.filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].to_string()).collect()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.try_post(path, body)
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn try_post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let request = self.agent.post(format!("{}{path}", self.session));
        let mut answer = request
            .content_type("application/json")
            .send(body.to_string())
            .map_err(|error| error.to_string())?;
        let failed = !answer.status().is_success();
        let text = answer
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_string();
        let mut answer: Value = serde_json::from_str(&text.unwrap()).unwrap();
        let value = answer["value"].take();
        if failed {
            Err(value["message"].to_string())
        } else {
            Ok(value)
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser with the session; it may be gone already.
        let _ = self.agent.delete(&self.session).call();
    }
}
