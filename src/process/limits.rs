//! The limits that a process is under (getrlimit(2)), as far as a renewal may meet them. What is
//! answered from the cache needs next to nothing.

use std::io;

use rustix::process::{Resource, getrlimit};

/// What a renewal takes of memory at most, in bytes: certificates, TLS, and the stack of the thread
/// that a name is looked up by. Where an allocation fails, a program in Rust can only abort.
const MEMORY: u64 = 16 << 20;
/// What it takes of the stack at most, in bytes; where that ends, the kernel kills.
const STACK: u64 = 256 << 10;

/// A limit that keeps this process from a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The number of processes and threads: of the user, or of the container.
    Processes,
    /// The number of open files.
    OpenFiles,
    /// The address space.
    AddressSpace,
    /// Private memory that can be written to.
    Data,
    /// The stack.
    Stack,
}

impl Limit {
    /// What to do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Processes => {
                "raise the limit on processes: the user's (`ulimit -u`), the container's \
                 (`--pids-limit`) or the systemd unit's (`TasksMax=`); or add the host to /etc/hosts"
            }
            Self::OpenFiles => {
                "raise the limit on open files (`ulimit -n`, in a systemd unit `LimitNOFILE=`)"
            }
            Self::AddressSpace => {
                "raise the limit on address space (`ulimit -v`, in a systemd unit `LimitAS=`)"
            }
            Self::Data => "raise the limit on data (`ulimit -d`, in a systemd unit `LimitDATA=`)",
            Self::Stack => {
                "raise the limit on the stack (`ulimit -s`, in a systemd unit `LimitSTACK=`)"
            }
        }
    }

    /// The limit that an error of the system tells of.
    pub fn behind(error: &io::Error) -> Option<Self> {
        match rustix::io::Errno::from_io_error(error) {
            Some(rustix::io::Errno::MFILE) => Some(Self::OpenFiles),
            _ => None,
        }
    }
}

/// The limit of memory that leaves too little for a renewal, if one does, and that in words.
pub fn in_the_way() -> Option<(Limit, String)> {
    let of = |resource| getrlimit(resource).current;
    if let Some(limit) = of(Resource::Stack).filter(|limit| *limit < STACK) {
        return Some((Limit::Stack, too_little("the stack", limit, None, STACK)));
    }
    let limits = [
        (Limit::AddressSpace, "the address space", "VmSize:", of(Resource::As)),
        (Limit::Data, "the data", "VmData:", of(Resource::Data)),
    ];
    if limits.iter().all(|(.., limit)| limit.is_none()) {
        return None;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    limits.into_iter().find_map(|(which, what, key, limit)| {
        let limit = limit?;
        let left = limit.saturating_sub(bytes_of(&status, key));
        (left < MEMORY).then(|| (which, too_little(what, limit, Some(left), MEMORY)))
    })
}

/// A value of /proc/self/status, in bytes.
fn bytes_of(status: &str, key: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_suffix("kB"));
    value.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024)
}

fn too_little(what: &str, limit: u64, left: Option<u64>, needed: u64) -> String {
    let [limit, needed] = [limit, needed].map(|bytes| bytes >> 10);
    let left = left.map_or_else(String::new, |left| format!(" ({} KiB are left)", left >> 10));
    format!(
        "{what} of this process is limited to {limit} KiB{left}; a connection needs {needed} KiB"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r34_what_is_left_is_told_in_words() {
        let status = "Name:\tx\nVmPeak:\t 9 kB\nVmSize:\t    5120 kB\nVmData:\t 512 kB\n";
        assert_eq!(bytes_of(status, "VmSize:"), 5 << 20);
        assert_eq!(bytes_of(status, "VmLck:"), 0);
        assert_eq!(
            too_little("the address space", 20 << 20, Some(15 << 20), 16 << 20),
            "the address space of this process is limited to 20480 KiB (15360 KiB are left); a \
             connection needs 16384 KiB"
        );
    }

    #[test]
    fn r34_a_process_without_limits_is_not_in_its_own_way() {
        assert_eq!(in_the_way(), None);
        let error = io::Error::from_raw_os_error(24);
        assert_eq!(Limit::behind(&error), Some(Limit::OpenFiles));
        assert_eq!(Limit::behind(&io::Error::from_raw_os_error(13)), None);
    }
}
