//! A network that a test can break: a TCP proxy in front of one server. It can cut every connection in the middle of whatever it carries,
//! let nothing pass while connections stay open, refuse new ones, and swallow the reply to one chosen request. It runs on a thread of its own:
//! a test that blocks, as while it waits for a worker's end, does not hold up what the worker sends.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// How long a connection whose reply was swallowed stays open: the server has done what it was asked by then.
const SWALLOWED_FOR: Duration = Duration::from_millis(500);

/// What may pass.
#[derive(Clone, Copy, Debug)]
struct Weather {
    /// Bytes go both ways.
    flows: bool,
    /// New connections are taken.
    accepts: bool,
    /// Connections from before a cut end.
    cuts: u64,
    /// Connections from before this are silent for ever.
    forgets: u64,
}

/// What is done to the connections, shared by all of them.
#[derive(Debug)]
struct Shared {
    server: String,
    /// The reply to the next request that holds these bytes is swallowed.
    trap: Mutex<Option<Vec<u8>>>,
    swallowed: AtomicU64,
    carried: AtomicU64,
    /// What new connections are answered instead of being carried.
    answer: Mutex<Option<Arc<[u8]>>>,
    answered: AtomicU64,
}

/// The proxy. Dropping it ends it and all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    shared: Arc<Shared>,
    /// Its thread ends when this is dropped.
    _alive: oneshot::Sender<()>,
}

impl Proxy {
    /// A proxy on a free port in front of `server` (`host:port`); everything passes.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(server: &str) -> Proxy {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket can wait for its runtime");
        let address = listener.local_addr().expect("it is bound");
        let (weather, _) = watch::channel(Weather { flows: true, accepts: true, cuts: 0, forgets: 0 });
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            trap: Mutex::default(),
            swallowed: AtomicU64::new(0),
            carried: AtomicU64::new(0),
            answer: Mutex::default(),
            answered: AtomicU64::new(0),
        });
        let (alive, gone) = oneshot::channel();
        let (sky, all) = (weather.clone(), shared.clone());
        std::thread::spawn(move || run(listener, sky, all, gone));
        Proxy { address, weather, shared, _alive: alive }
    }

    /// A proxy in front of the server of an address such as `mysql://user@host:port/database`, and that address through the proxy.
    ///
    /// # Panics
    /// When the address has no host and port.
    pub async fn of_url(url: &str) -> (Proxy, String) {
        let (scheme, rest) = url.split_once("://").expect("a scheme");
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, server) = authority.rsplit_once('@').map_or(("", authority), |(user, server)| (user, server));
        let proxy = Proxy::start(server).await;
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        let through = format!("{scheme}://{user}{}/{path}", proxy.address);
        (proxy, through)
    }

    /// `host:port` of the proxy.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Ends every connection now, in the middle of whatever it carries. New ones work.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// Ends every connection, and every new one as soon as it comes.
    pub fn refuse(&self) {
        self.weather.send_modify(|weather| {
            weather.accepts = false;
            weather.cuts += 1;
        });
    }

    /// Nothing passes any more, in no direction; connections stay open, and new ones are taken and stay silent.
    pub fn silence(&self) {
        self.weather.send_modify(|weather| weather.flows = false);
    }

    /// The network loses all connections without a word: both ends keep them, and nothing passes on them ever again. New ones work.
    pub fn forget(&self) {
        self.weather.send_modify(|weather| weather.forgets += 1);
    }

    /// Every connection ends, and the first request of every new one gets this answer, after which it ends too. The server hears of none.
    pub fn answer(&self, answer: &str) {
        *self.shared.answer.lock().expect("no panic while locked") = Some(answer.as_bytes().into());
        self.cut();
    }

    /// Requests answered so.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Everything passes again; what was silenced is delivered late.
    pub fn heal(&self) {
        *self.shared.answer.lock().expect("no panic while locked") = None;
        self.weather.send_modify(|weather| {
            weather.flows = true;
            weather.accepts = true;
        });
    }

    /// The next request that holds `words` reaches the server, but its reply reaches nobody, and the connection ends.
    pub fn swallow_reply_to(&self, words: &str) {
        *self.shared.trap.lock().expect("no panic while locked") = Some(words.as_bytes().to_vec());
    }

    /// Replies that were swallowed so far.
    pub fn swallowed(&self) -> u64 {
        self.shared.swallowed.load(Ordering::Relaxed)
    }

    /// Connections that it has carried so far.
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }
}

fn run(
    listener: std::net::TcpListener,
    weather: watch::Sender<Weather>,
    shared: Arc<Shared>,
    gone: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).expect("it does not block");
        tokio::select! {
            () = accept(listener, weather, shared) => {}
            _ = gone => {}
        }
    });
    // Whatever is still carried ends with the runtime.
}

async fn accept(listener: TcpListener, weather: watch::Sender<Weather>, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let answer = shared.answer.lock().expect("no panic while locked").clone();
        match answer {
            Some(answer) => drop(tokio::spawn(answer_with(client, answer, shared.clone()))),
            None if weather.borrow().accepts => drop(tokio::spawn(carry(client, weather.subscribe(), shared.clone()))),
            None => {}
        }
    }
}

async fn answer_with(mut client: TcpStream, answer: Arc<[u8]>, shared: Arc<Shared>) {
    let mut request = vec![0; 16 * 1024];
    if let Ok(1..) = client.read(&mut request).await {
        shared.answered.fetch_add(1, Ordering::Relaxed);
        // Who has gone meanwhile needs no answer.
        let _ = client.write_all(&answer).await;
    }
}

/// One connection, until one side ends it or it is cut.
async fn carry(client: TcpStream, mut weather: watch::Receiver<Weather>, shared: Arc<Shared>) {
    let Weather { cuts, forgets, .. } = *weather.borrow();
    let Ok(server) = TcpStream::connect(&shared.server).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    shared.carried.fetch_add(1, Ordering::Relaxed);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let is_swallowing = AtomicBool::new(false);
    let way = Way { weather: weather.clone(), forgets };
    let requests = pass_requests(from_client, to_server, way.clone(), &shared, &is_swallowing);
    let replies = pass_replies(from_server, to_client, way, &is_swallowing);
    let cut = async {
        let _ = weather.wait_for(|weather| weather.cuts > cuts).await;
    };
    tokio::select! {
        () = requests => {}
        () = replies => {}
        () = cut => {}
    }
}

/// One direction of a connection.
#[derive(Clone)]
struct Way {
    weather: watch::Receiver<Weather>,
    /// As it was when the connection was made.
    forgets: u64,
}

impl Way {
    /// Waits while nothing may pass.
    async fn until_it_flows(&mut self) {
        let _ = self.weather.wait_for(|weather| weather.flows && weather.forgets == self.forgets).await;
    }
}

async fn pass_requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: Way,
    shared: &Shared,
    is_swallowing: &AtomicBool,
) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        way.until_it_flows().await;
        let request = &bytes[..count];
        let is_trapped = shared.springs(request);
        is_swallowing.fetch_or(is_trapped, Ordering::Relaxed);
        if to.write_all(request).await.is_err() {
            return;
        }
        if is_trapped {
            tokio::time::sleep(SWALLOWED_FOR).await;
            shared.swallowed.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}

async fn pass_replies(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: Way, is_swallowing: &AtomicBool) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        way.until_it_flows().await;
        if !is_swallowing.load(Ordering::Relaxed) && to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

impl Shared {
    /// True once for a request that holds the words of the trap.
    fn springs(&self, request: &[u8]) -> bool {
        let mut trap = self.trap.lock().expect("no panic while locked");
        let is_hit =
            trap.as_ref().is_some_and(|words| request.windows(words.len()).any(|window| window == words.as_slice()));
        if is_hit {
            *trap = None;
        }
        is_hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each read with the same bytes.
    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut bytes = [0; 64];
                    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                        stream.write_all(&bytes[..count]).await.unwrap();
                    }
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream, text: &str) -> Option<String> {
        stream.write_all(text.as_bytes()).await.ok()?;
        let mut bytes = [0; 64];
        match tokio::time::timeout(Duration::from_millis(800), stream.read(&mut bytes)).await {
            Ok(Ok(count @ 1..)) => Some(String::from_utf8_lossy(&bytes[..count]).into_owned()),
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_network_breaks_and_heals() {
        let proxy = Proxy::start(&echo().await).await;
        let mut open = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut open, "one").await.as_deref(), Some("one"));
        proxy.silence();
        assert_eq!(ask(&mut open, "two").await, None);
        proxy.heal();
        let mut bytes = [0; 3];
        open.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"two", "late, not lost");
        proxy.cut();
        assert_eq!(ask(&mut open, "three").await, None);
        let mut other = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut other, "four").await.as_deref(), Some("four"));
        proxy.swallow_reply_to("COMMIT");
        assert_eq!(ask(&mut other, "INSERT").await.as_deref(), Some("INSERT"));
        assert_eq!(ask(&mut other, "COMMIT").await, None);
        assert_eq!((proxy.swallowed(), proxy.carried()), (1, 2));
        proxy.refuse();
        let mut refused = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut refused, "five").await, None);
    }

    #[tokio::test]
    async fn connections_that_the_network_forgot_are_silent_for_ever_and_new_ones_work() {
        let proxy = Proxy::start(&echo().await).await;
        let mut old = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut old, "one").await.as_deref(), Some("one"));
        proxy.forget();
        assert_eq!(ask(&mut old, "two").await, None);
        let mut new = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut new, "three").await.as_deref(), Some("three"));
        proxy.heal();
        assert_eq!(ask(&mut old, "four").await, None);
    }

    #[tokio::test]
    async fn connections_are_answered_in_the_servers_place_until_it_heals() {
        let proxy = Proxy::start(&echo().await).await;
        proxy.answer("no");
        let mut open = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut open, "one").await.as_deref(), Some("no"));
        assert_eq!((proxy.answered(), proxy.carried()), (1, 0));
        proxy.heal();
        let mut open = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut open, "two").await.as_deref(), Some("two"));
    }

    #[tokio::test]
    async fn a_test_that_blocks_does_not_hold_up_what_is_carried() {
        use std::io::{Read, Write};
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(&server.local_addr().unwrap().to_string()).await;
        let mut client = std::net::TcpStream::connect(proxy.address).unwrap();
        client.write_all(b"one").unwrap();
        let mut carried = server.accept().unwrap().0;
        let mut bytes = [0; 3];
        carried.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"one");
    }

    #[tokio::test]
    async fn an_address_leads_through_the_proxy() {
        let (proxy, through) = Proxy::of_url("postgres://me:secret@127.0.0.1:5432/shop").await;
        assert_eq!(through, format!("postgres://me:secret@{}/shop", proxy.address()));
        let (proxy, through) = Proxy::of_url("http://127.0.0.1:8081/apis/v7").await;
        assert_eq!(through, format!("http://{}/apis/v7", proxy.address()));
    }
}
