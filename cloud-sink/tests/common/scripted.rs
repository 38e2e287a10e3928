//! A server that answers as it is told, well or badly.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What a request gets.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A whole answer.
    Say {
        status: u16,
        headers: String,
        body: String,
    },
    /// An answer that promises more than comes.
    Cut(String),
    /// The connection is closed.
    Close,
    /// Nothing, until the client gives up.
    Silence,
}

/// An answer of this status.
pub fn say(status: u16, body: impl Into<String>) -> Reply {
    Reply::Say {
        status,
        headers: String::new(),
        body: body.into(),
    }
}

/// The same, which asks to wait so many seconds.
pub fn wait(status: u16, seconds: u64) -> Reply {
    let headers = format!("Retry-After: {seconds}\r\n");
    Reply::Say {
        status,
        headers,
        body: String::new(),
    }
}

/// A chat completion with `text`.
pub fn completion(text: &str) -> Reply {
    let text = text.escape_default();
    let body = format!(
        r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1000,"completion_tokens":10}}}}"#
    );
    say(200, body)
}

/// A list of models with this one.
pub fn models(model: &str) -> Reply {
    say(
        200,
        format!(r#"{{"object":"list","data":[{{"id":"{model}"}}]}}"#),
    )
}

/// A server. Its thread ends with the test's process.
pub struct Scripted {
    pub url: String,
    pub address: SocketAddr,
    models: Arc<Mutex<Reply>>,
    script: Arc<Mutex<VecDeque<Reply>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Answers the list of models with `models`, and questions with what `answer` makes of them.
    pub fn start(models: Reply, answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}/v1");
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        let models = Arc::new(Mutex::new(models));
        let list = Arc::clone(&models);
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (seen, answer, models) =
                    (Arc::clone(&seen), Arc::clone(&answer), Arc::clone(&list));
                thread::spawn(move || {
                    let mut connection = connection.unwrap();
                    while let Some(request) = request(&connection) {
                        let reply = if request.starts_with("GET ") {
                            models.lock().unwrap().clone()
                        } else {
                            seen.lock().unwrap().push(request.clone());
                            answer(&request)
                        };
                        if !send(&mut connection, reply) {
                            break;
                        }
                    }
                });
            }
        });
        Self {
            url,
            address,
            models,
            script: Arc::default(),
            requests,
        }
    }

    /// Answers questions with `replies`, one after the other; the last one again and again.
    pub fn replying(replies: impl IntoIterator<Item = Reply>) -> Self {
        let script = Arc::new(Mutex::new(VecDeque::from_iter(replies)));
        let left = Arc::clone(&script);
        let next = move |_: &str| {
            let mut left = left.lock().unwrap();
            if left.len() > 1 {
                left.pop_front().unwrap()
            } else {
                left[0].clone()
            }
        };
        Self {
            script,
            ..Self::start(models("tiny"), next)
        }
    }

    /// Answers what comes from now on with `reply`.
    pub fn reply(&self, reply: Reply) {
        *self.script.lock().unwrap() = VecDeque::from([reply]);
    }

    /// Answers the list of models with `reply` from now on.
    pub fn list(&self, reply: Reply) {
        *self.models.lock().unwrap() = reply;
    }

    /// The questions that came, heads and bodies.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Reads a request; `None` at the end of the connection.
fn request(connection: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(connection);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head += &line;
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8(body).unwrap())
}

/// Whether the connection goes on.
fn send(connection: &mut TcpStream, reply: Reply) -> bool {
    let text = match reply {
        Reply::Say {
            status,
            headers,
            body,
        } => {
            let length = body.len();
            format!(
                "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
            )
        }
        Reply::Cut(body) => {
            let text = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len() + 1
            );
            let _ = connection.write_all(text.as_bytes());
            return false;
        }
        Reply::Close => return false,
        Reply::Silence => {
            let _ = connection.read_to_end(&mut Vec::new());
            return false;
        }
    };
    connection.write_all(text.as_bytes()).is_ok()
}
