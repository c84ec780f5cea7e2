//! Hosts on one cable: a network namespace each, joined by a bridge in a namespace of its own, so that nothing a test sends
//! can leave the machine. Transmission drops peers in 127.0.0.0/8, so the hosts are 10.77.0.1, 10.77.0.2 and so on. On a cable
//! that plays the internet they are 5.77.0.1 and so on; a router there has a home behind it, where all homes look alike.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A router's address inside.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

static LABS: AtomicU32 = AtomicU32::new(0);

/// A bridge and the hosts on it. All of it is gone when this is dropped.
#[derive(Debug)]
pub struct Lab {
    name: String,
    hosts: AtomicU8,
    /// The first numbers of every address on it.
    prefixes: (u8, u16),
}

impl Lab {
    /// An empty cable.
    #[track_caller]
    pub fn new() -> Self {
        Self::with_prefixes((10, 0xfd77))
    }

    /// An empty cable whose addresses are those of the world outside.
    #[track_caller]
    pub fn internet() -> Self {
        Self::with_prefixes((5, 0x2a77))
    }

    #[track_caller]
    fn with_prefixes(prefixes: (u8, u16)) -> Self {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep_leftovers);
        let name = format!(
            "kinswarm{}-{}",
            std::process::id(),
            LABS.fetch_add(1, Ordering::Relaxed)
        );
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link add bridge type bridge stp_state 0"));
        ip(&format!("-n {name} link set bridge up"));
        Self {
            name,
            hosts: AtomicU8::new(0),
            prefixes,
        }
    }

    /// One more host, with an address of each family.
    #[track_caller]
    pub fn host(&self) -> Host {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        let (v4, v6) = self.prefixes;
        let host = Host {
            namespace: format!("{}-{number}", self.name),
            ipv4: Ipv4Addr::new(v4, 77, 0, number),
            ipv6: Ipv6Addr::new(v6, 0, 0, 0, 0, 0, 0, u16::from(number)),
        };
        host.plug_in(&self.name, number);
        host
    }

    /// A router, and nobody at home yet.
    #[track_caller]
    pub fn home(&self) -> Home {
        let router = self.host();
        let home = Home {
            rooms: AtomicU8::new(0),
            router,
        };
        ip_batch(
            &home.router.namespace,
            &format!(
                "link add bridge type bridge stp_state 0\nlink set bridge up\naddr add {GATEWAY}/24 dev bridge\n"
            ),
        );
        home.router
            .inside(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("root may forward"));
        home.nft("table ip nat {\nchain out {\ntype nat hook postrouting priority 100;\noifname \"eth0\" masquerade;\n}\nchain in {\ntype nat hook prerouting priority -100;\n}\n}\n");
        home
    }
}

/// A home behind a router that has one address in the world outside. Inside, hosts are 192.168.1.10 and up, in every home.
#[derive(Debug)]
pub struct Home {
    rooms: AtomicU8,
    router: Host,
}

impl Home {
    /// The home's address outside.
    pub fn outside(&self) -> Ipv4Addr {
        self.router.ipv4
    }

    /// One more host at home.
    #[track_caller]
    pub fn host(&self) -> Host {
        let number = 10 + self.rooms.fetch_add(1, Ordering::Relaxed);
        let host = Host {
            namespace: format!("{}-{number}", self.router.namespace),
            ipv4: Ipv4Addr::new(192, 168, 1, number),
            ipv6: Ipv6Addr::new(0xfd77, 1, 0, 0, 0, 0, 0, u16::from(number)),
        };
        host.plug_in(&self.router.namespace, number);
        ip_batch(&host.namespace, &format!("route add default via {GATEWAY}\n"));
        host
    }

    /// Whoever dials this port from outside reaches this host.
    #[track_caller]
    pub fn forward(&self, port: u16, host: &Host) {
        self.nft(&format!(
            "add rule ip nat in iifname \"eth0\" tcp dport {port} dnat to {}:{port}\n",
            host.ipv4
        ));
    }

    #[track_caller]
    fn nft(&self, script: &str) {
        let fed = feed(
            &["netns", "exec", &self.router.namespace, "nft", "-f", "-"],
            script,
        );
        assert!(
            fed,
            "these tests need `nft` (package nftables) and a kernel with it: {script}"
        );
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for number in 0..self.rooms.load(Ordering::Relaxed) {
            delete_namespace(&format!("{}-{}", self.router.namespace, 10 + number));
        }
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for number in 1..=self.hosts.load(Ordering::Relaxed) {
            delete_namespace(&format!("{}-{number}", self.name));
        }
        delete_namespace(&self.name);
    }
}

/// One of the two kinds of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    IPv4,
    IPv6,
}

/// A machine of its own, as far as the network can tell.
#[derive(Clone, Debug)]
pub struct Host {
    namespace: String,
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
}

impl Host {
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub fn ipv4(&self) -> Ipv4Addr {
        self.ipv4
    }

    pub fn ipv6(&self) -> Ipv6Addr {
        self.ipv6
    }

    /// Makes the host, with a cable to the bridge in another namespace.
    #[track_caller]
    fn plug_in(&self, bridge: &str, number: u8) {
        let namespace = &self.namespace;
        let mut script = String::new();
        let _ = writeln!(
            script,
            "link add port{number} type veth peer name eth0 netns {namespace}"
        );
        let _ = writeln!(script, "link set port{number} master bridge up");
        ip(&format!("netns add {namespace}"));
        ip_batch(bridge, &script);
        // `nodad`: an address that waits for duplicate detection cannot be bound yet.
        let inside = format!(
            "link set lo up\naddr add {}/24 dev eth0\naddr add {}/64 dev eth0 nodad\nlink set eth0 up\n",
            self.ipv4, self.ipv6
        );
        ip_batch(namespace, &inside);
    }

    pub fn ip(&self) -> IpAddr {
        IpAddr::V4(self.ipv4)
    }

    /// Takes away its addresses of the other family: whoever talks to it talks this one.
    #[track_caller]
    pub fn confine(&self, family: Family) {
        let other = match family {
            Family::IPv4 => "-6",
            Family::IPv6 => "-4",
        };
        ip(&format!("-n {} {other} addr flush dev eth0", self.namespace));
        if family == Family::IPv6 {
            // Where no address but loopback's is of IPv4, Transmission cannot be spoken to at 127.0.0.1 either. This leads nowhere.
            ip(&format!("-n {} addr add 192.0.2.1/32 dev lo", self.namespace));
        }
    }

    /// Its address of one family.
    pub fn ip_of(&self, family: Family) -> IpAddr {
        match family {
            Family::IPv4 => IpAddr::V4(self.ipv4),
            Family::IPv6 => IpAddr::V6(self.ipv6),
        }
    }

    /// Does something with this host's network: sockets opened inside belong to it.
    #[track_caller]
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace =
            fs::File::open(Path::new("/run/netns").join(&self.namespace)).expect("the host exists");
        thread::scope(|scope| {
            // Only this thread moves; it ends with the work.
            let moved = scope.spawn(move || {
                move_into_link_name_space(
                    rustix::fd::AsFd::as_fd(&namespace),
                    Some(LinkNameSpaceType::Network),
                )
                .expect("root may enter a namespace");
                work()
            });
            moved
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

#[track_caller]
fn ip(words: &str) {
    let output = Command::new("ip")
        .args(words.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("these tests need `ip` (package iproute2): {error}"));
    assert!(
        output.status.success(),
        "these tests make network namespaces, which needs root and a kernel with veth and bridge.\n`ip {words}`: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Several commands in one namespace at once: a process each would be slower than the network they make.
#[track_caller]
fn ip_batch(namespace: &str, script: &str) {
    let fed = feed(&["-n", namespace, "-batch", "-"], script);
    assert!(fed, "ip -n {namespace} failed at:\n{script}");
}

/// Runs `ip` with a script to read; says whether all went well.
#[track_caller]
fn feed(words: &[&str], script: &str) -> bool {
    let mut child = Command::new("ip")
        .args(words)
        .stdin(Stdio::piped())
        .spawn()
        .expect("`ip` was there a moment ago");
    child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(script.as_bytes())
        .expect("it reads its script");
    child.wait().expect("it ends").success()
}

fn delete_namespace(name: &str) {
    let _ = Command::new("ip")
        .args(["netns", "del", name])
        .stderr(Stdio::null())
        .status();
}

/// A test that was killed could not tidy up. Its name holds the id of its process.
fn sweep_leftovers() {
    let Ok(entries) = fs::read_dir("/run/netns") else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix("kinswarm")
            .and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            delete_namespace(&name);
        }
    }
}
