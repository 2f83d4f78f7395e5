//! Git servers as children of the test, on ports that the kernel chooses.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A child that ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until somebody listens.
pub fn wait_for(port: u16) {
    for _ in 0..2000 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        std::thread::yield_now();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("nobody listens on port {port}");
}

/// `git daemon` for everything under a folder.
pub fn git_daemon(root: &Path) -> (Running, u16) {
    let port = free_port();
    // Not through `git`, which would stay between us and the daemon, and not pass on its end.
    let programs = Command::new("git").arg("--exec-path").output().unwrap().stdout;
    let programs = PathBuf::from(String::from_utf8(programs).unwrap().trim());
    let child = Command::new(programs.join("git-daemon"))
        .args(["--listen=127.0.0.1", "--export-all", "--reuseaddr"])
        .args([format!("--port={port}"), format!("--base-path={}", root.display())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(port);
    (Running(child), port)
}

/// What an HTTP server saw and does.
#[derive(Default)]
pub struct Web {
    pub root: PathBuf,
    /// The value of `Authorization` that it wants.
    pub wants: Option<String>,
    /// Answer every request with a redirect to here, plus the request's path.
    pub redirect: Option<String>,
    /// Never answer a fetch that wants this object.
    pub hangs_on: Option<String>,
    /// Request lines.
    pub requests: Mutex<Vec<String>>,
    /// Bytes of requests and of answers, without TLS.
    pub up: AtomicU64,
    pub down: AtomicU64,
}

impl Web {
    pub fn new(root: &Path) -> Web {
        Web { root: root.to_owned(), ..Web::default() }
    }

    pub fn forget(&self) {
        self.requests.lock().unwrap().clear();
        self.up.store(0, Ordering::Relaxed);
        self.down.store(0, Ordering::Relaxed);
    }

    pub fn seen(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Answers requests on one connection until it closes.
    pub fn serve(&self, stream: impl Read + Write) {
        let mut stream = BufReader::new(stream);
        while self.one(&mut stream).is_some() {}
    }

    fn one<S: Read + Write>(&self, stream: &mut BufReader<S>) -> Option<()> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let count = stream.read_line(&mut line).ok()?;
            if count == 0 {
                return None;
            }
            self.up.fetch_add(count as u64, Ordering::Relaxed);
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let header = |name: &str| {
            lines.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let length = header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        self.up.fetch_add(length as u64, Ordering::Relaxed);
        self.requests.lock().unwrap().push(lines[0].clone());
        if let Some(object) = &self.hangs_on
            && String::from_utf8_lossy(&body).contains(&format!("want {object}"))
        {
            std::thread::sleep(std::time::Duration::from_secs(60));
            return None;
        }
        let target = lines[0].split(' ').nth(1)?.to_owned();
        let answer = if let Some(to) = &self.redirect {
            format!("HTTP/1.1 302 Found\r\nLocation: {to}{target}\r\nContent-Length: 0\r\n\r\n").into_bytes()
        } else if self.wants.is_some() && header("authorization") != self.wants {
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n"
                .to_vec()
        } else {
            self.backend(
                &lines[0],
                &target,
                &body,
                header("git-protocol"),
                header("content-type"),
                header("content-encoding"),
            )
        };
        self.down.fetch_add(answer.len() as u64, Ordering::Relaxed);
        stream.get_mut().write_all(&answer).ok()?;
        stream.get_mut().flush().ok()
    }

    fn backend(
        &self,
        line: &str,
        target: &str,
        body: &[u8],
        protocol: Option<String>,
        content_type: Option<String>,
        encoding: Option<String>,
    ) -> Vec<u8> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut child = Command::new("git")
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("REQUEST_METHOD", line.split(' ').next().unwrap())
            .env("CONTENT_LENGTH", body.len().to_string())
            .env("CONTENT_TYPE", content_type.unwrap_or_default())
            .env("HTTP_CONTENT_ENCODING", encoding.unwrap_or_default())
            .env("GIT_PROTOCOL", protocol.unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut output = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(move || input.write_all(body));
            child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
        });
        child.wait().unwrap();
        let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(output[..end].to_vec()).unwrap();
        let content = &output[end + 4..];
        let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
        let mut answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", content.len());
        for line in head.lines().filter(|line| !line.starts_with("Status")) {
            answer.push_str(&format!("{line}\r\n"));
        }
        answer.push_str("\r\n");
        [answer.as_bytes(), content].concat()
    }
}

/// Accepts connections for the rest of the test's process.
pub fn accept(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Plain HTTP.
pub fn http(web: &Arc<Web>) -> u16 {
    let web = Arc::clone(web);
    accept(move |stream| web.serve(stream))
}

/// An HTTP server that speaks just enough of Git to say what it likes.
pub struct Hostile(Arc<Script>);

/// What it says and heard.
#[derive(Default)]
pub struct Script {
    listing: Vec<u8>,
    pack: Vec<u8>,
    pub requests: Mutex<Vec<String>>,
    pub down: AtomicU64,
}

impl std::ops::Deref for Hostile {
    type Target = Script;

    fn deref(&self) -> &Script {
        &self.0
    }
}

impl Hostile {
    /// Lists `main` at this object, and sends no pack that deserves the name.
    pub fn new(tip: &str) -> Hostile {
        Hostile::saying(format!("{tip} refs/heads/main\n").as_bytes(), Vec::new())
    }

    /// Lists these lines, and sends this for every fetch.
    pub fn saying(lines: &[u8], pack: Vec<u8>) -> Hostile {
        let lines = lines.split_inclusive(|byte| *byte == b'\n');
        let listing = lines.flat_map(line).chain(*b"0000").collect();
        Hostile(Arc::new(Script { listing, pack, ..Script::default() }))
    }

    /// Listens for the rest of the test's process, and returns the address of its repository.
    pub fn start(&self) -> String {
        let script = Arc::clone(&self.0);
        let port = accept(move |stream| {
            let mut stream = BufReader::new(stream);
            while script.one(&mut stream).is_some() {}
        });
        format!("http://127.0.0.1:{port}/fleet")
    }
}

impl Script {
    fn one(&self, stream: &mut BufReader<TcpStream>) -> Option<()> {
        let (mut first, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
            if first.is_empty() {
                first = line.trim().to_owned();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let body = String::from_utf8_lossy(&body).into_owned();
        self.requests.lock().unwrap().push(first.clone());
        let (kind, content) = if first.starts_with("GET") {
            ("advertisement", self.capabilities())
        } else if body.contains("command=ls-refs") {
            ("result", self.listing.clone())
        } else {
            ("result", self.packfile())
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-{kind}\r\nContent-Length: {}\r\n\r\n",
            content.len()
        );
        stream.get_mut().write_all(head.as_bytes()).ok()?;
        for part in content.chunks(64 << 10) {
            stream.get_mut().write_all(part).ok()?;
            self.down.fetch_add(part.len() as u64, Ordering::Relaxed);
        }
        Some(())
    }

    fn capabilities(&self) -> Vec<u8> {
        let lines: [&[u8]; 4] = [b"version 2\n", b"ls-refs\n", b"fetch=shallow\n", b"object-format=sha1\n"];
        let service = [line(b"# service=git-upload-pack\n"), b"0000".to_vec()].concat();
        service.into_iter().chain(lines.into_iter().flat_map(line)).chain(*b"0000").collect()
    }

    fn packfile(&self) -> Vec<u8> {
        let mut bytes = line(b"packfile\n");
        for part in self.pack.chunks(60_000) {
            bytes.extend(line(&[b"\x01", part].concat()));
        }
        bytes.extend(b"0000");
        bytes
    }
}

/// A line of Git's protocol.
fn line(content: &[u8]) -> Vec<u8> {
    [format!("{:04x}", content.len() + 4).as_bytes(), content].concat()
}
