//! Programs that run while a test goes on.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a program may take to say what is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program; it is killed with -9 when it is dropped.
pub struct Process {
    child: Child,
    said: Arc<Said>,
    reader: Option<JoinHandle<()>>,
}

/// What a program said so far, and whether that is all.
#[derive(Default)]
struct Said {
    text: Mutex<(String, bool)>,
    changed: Condvar,
}

impl Process {
    /// Starts `command`, and reads on what it says to standard output and standard error.
    pub fn start(mut command: Command) -> Self {
        let (from, to) = std::io::pipe().unwrap();
        command.stdout(to.try_clone().unwrap()).stderr(to);
        let child = command.spawn().unwrap();
        // It holds the other end of the pipe, too.
        drop(command);
        let said = Arc::<Said>::default();
        let heard = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line) + "\n";
                heard.text.lock().unwrap().0 += &line;
                heard.changed.notify_all();
            }
            heard.text.lock().unwrap().1 = true;
            heard.changed.notify_all();
        });
        Self {
            child,
            said,
            reader: Some(reader),
        }
    }

    /// What it said so far.
    pub fn said(&self) -> String {
        self.said.text.lock().unwrap().0.clone()
    }

    /// Waits until `is` holds for what it said; gives that.
    pub fn until(&self, is: impl Fn(&str) -> bool) -> String {
        let said = self.said.text.lock().unwrap();
        let not_yet = |(text, ended): &mut (String, bool)| !is(text) && !*ended;
        let waited = self
            .said
            .changed
            .wait_timeout_while(said, PATIENCE, not_yet);
        let text = waited.unwrap().0.0.clone();
        assert!(is(&text), "it said only:\n{text}");
        text
    }

    /// Waits for a line with these words.
    pub fn line(&self, words: &str) -> String {
        let has = |line: &&str| line.contains(words);
        let said = self.until(|said| said.lines().any(|line| has(&line)));
        said.lines().find(has).unwrap().to_owned()
    }

    /// Sends `signal` and waits for its end, which is to be in order; gives all that it said.
    pub fn stop(mut self, signal: &str) -> String {
        let pid = self.child.id().to_string();
        Command::new("kill").args([signal, &pid]).status().unwrap();
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        assert!(status.success(), "{}", self.said());
        self.said()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.said());
        }
        // It may have ended by itself; either way nothing is left of it after the wait.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
