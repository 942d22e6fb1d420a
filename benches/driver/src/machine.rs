//! The machine that was measured on.

use std::fs;
use std::thread;

/// One sentence: processor, cores, kernel, distribution, compiler.
pub fn description() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str, separator: char| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(separator)).map(|(_, value)| value);
        value.unwrap_or("unknown").trim().trim_matches('"').to_owned()
    };
    let cpu = read("/proc/cpuinfo");
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let is_virtual =
        cpu.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
    let memory: u64 = value(&read("/proc/meminfo"), "MemTotal", ':')
        .split(' ')
        .next()
        .and_then(|kilobytes| kilobytes.parse().ok())
        .unwrap_or(0);
    format!(
        "{}, {cores} cores{}, {:.0} GB; Linux {}; {}; {}",
        value(&cpu, "model name", ':'),
        if is_virtual { " of a virtual machine" } else { "" },
        memory as f64 * 1024.0 / 1e9,
        read("/proc/sys/kernel/osrelease").trim(),
        value(&read("/etc/os-release"), "PRETTY_NAME", '='),
        version("rustc"),
    )
}

fn version(program: &str) -> String {
    let output = std::process::Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| format!("{program} unknown"))
}

/// How busy the machine has been over the last minute: the load average.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}
