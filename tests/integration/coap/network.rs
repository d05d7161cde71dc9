//! A way to the hub that loses datagrams and doubles others: 15 % and 10 % in each direction, by a seed.

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

pub(super) struct Lossy {
    port: u16,
    ended: Arc<AtomicBool>,
}

impl Lossy {
    pub(super) fn to(port: u16, seed: u64) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = front.local_addr().unwrap().port();
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        thread::spawn(move || run(&front, port, seed, &stop));
        Self { port: own, ended }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn run(front: &UdpSocket, port: u16, seed: u64, stop: &AtomicBool) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut times = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        match random % 100 {
            0..15 => 0,
            15..25 => 2,
            _ => 1,
        }
    };
    front.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut behind: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut buffer = [0; 4_096];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = front.recv_from(&mut buffer) {
            let to = behind.entry(from).or_insert_with(|| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.connect(("127.0.0.1", port)).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            });
            for _ in 0..times() {
                let _may_be_lost = to.send(&buffer[..length]);
            }
        }
        for (client, socket) in &behind {
            while let Ok(length) = socket.recv(&mut buffer) {
                for _ in 0..times() {
                    let _may_be_lost = front.send_to(&buffer[..length], client);
                }
            }
        }
    }
}
