//! What other programs see of a run: strace its system calls, valgrind its instructions, GNU time
//! its memory and page faults.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::Result;
use crate::program::Program;

/// The system calls of one run, a line each, from its own `execve` on, threads included.
pub struct Calls(Vec<String>);

impl Calls {
    pub fn of(program: &Program, log: &Path) -> Result<Self> {
        let wrapper = ["/usr/bin/strace", "-f", "-qq", "-e", "signal=none", "-s", "200", "-o"];
        let wrapper: Vec<OsString> =
            wrapper.iter().map(OsString::from).chain([log.into()]).collect();
        program.under(&wrapper).run()?;
        let text = fs::read_to_string(log)?;
        fs::remove_file(log)?;
        // A call that is interrupted by another thread's stands in two lines.
        let calls = text.lines().filter(|line| !line.contains(" resumed>")).map(str::to_owned);
        Ok(Self(calls.collect()))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many there are of those whose line has one of these texts in it.
    pub fn with(&self, texts: &[&str]) -> usize {
        self.0.iter().filter(|line| texts.iter().any(|text| line.contains(text))).count()
    }
}

/// The instructions that a run executes outside of the kernel.
pub fn instructions(program: &Program) -> Result<f64> {
    let wrapper = ["/usr/bin/valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"];
    let report = program.under(&wrapper.map(OsString::from)).stderr()?;
    let count =
        report.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    Ok(count.ok_or_else(|| format!("valgrind has counted nothing: {report}"))?)
}

/// The most memory that a run has resident, in megabytes, and its page faults that needed no disk.
/// The memory of GNU time itself, about 1.5 MB, is the least that can be told apart; the faults
/// before the program begins, a few, are counted too. The least of several runs: around each fault
/// the kernel maps what happens to lie in the page cache, which comes on top by chance.
pub fn memory_and_faults(program: &Program) -> Result<(f64, f64)> {
    const RUNS: usize = 15;
    let mut least = (f64::INFINITY, f64::INFINITY);
    for _ in 0..RUNS {
        let (memory, faults) = memory_and_faults_of_a_run(program)?;
        least = (least.0.min(memory), least.1.min(faults));
    }
    Ok(least)
}

/// The same of one run.
pub fn memory_and_faults_of_a_run(program: &Program) -> Result<(f64, f64)> {
    let wrapper = ["/usr/bin/time", "--quiet", "--format", "%M %R"].map(OsString::from);
    let report = program.under(&wrapper).stderr()?;
    let mut numbers = report.split_whitespace().map(str::parse::<f64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(kilobytes)), Some(Ok(faults))) => Ok((kilobytes * 1024.0 / 1e6, faults)),
        _ => Err(format!("GNU time has told nothing: {report}").into()),
    }
}

/// What a program's file says of its start.
pub struct Image {
    /// Its size in megabytes.
    pub megabytes: f64,
    /// Whether it may be loaded anywhere (`ET_DYN`): without that, no randomized addresses.
    pub is_position_independent: bool,
    /// Whether all addresses are bound at the start (`DF_BIND_NOW`): none of them stays writable.
    pub is_bound_at_start: bool,
    /// The addresses in it that are put right before it begins, each page of them a page fault.
    pub relocations: u64,
}

/// Types of sections with relocations: one entry of 24 bytes each, and packed.
const SHT_RELA: u64 = 4;
const SHT_RELR: u64 = 19;
/// The section of what the loader is told, and in it the flags.
const SHT_DYNAMIC: u64 = 6;
const DT_FLAGS: u64 = 30;
const DF_BIND_NOW: u64 = 8;

impl Image {
    /// Reads the headers of an ELF file of 64 bits in this machine's order of bytes.
    pub fn of(path: &Path) -> Result<Self> {
        let bytes = fs::read(path)?;
        let number = |at: usize, size: usize| -> Option<u64> {
            let mut number = [0; 8];
            number[..size].copy_from_slice(bytes.get(at..at + size)?);
            Some(u64::from_le_bytes(number))
        };
        let mut is_bound_at_start = false;
        let mut relocations = || {
            let first = usize::try_from(number(0x28, 8)?).ok()?;
            let (size, count) = (number(0x3a, 2)?, number(0x3c, 2)?);
            let mut relocations = 0;
            for section in 0..count {
                let at = first + usize::try_from(section * size).ok()?;
                let (kind, length) = (number(at + 4, 4)?, number(at + 32, 8)?);
                let start = usize::try_from(number(at + 24, 8)?).ok()?;
                let end = start + usize::try_from(length).ok()?;
                relocations += match kind {
                    SHT_RELA => length / 24,
                    SHT_DYNAMIC => {
                        is_bound_at_start |= (start..end).step_by(16).any(|at| {
                            number(at, 8) == Some(DT_FLAGS)
                                && number(at + 8, 8).is_some_and(|flags| flags & DF_BIND_NOW != 0)
                        });
                        0
                    }
                    SHT_RELR => {
                        // An address, or with its lowest bit set a map of those that follow.
                        let packed =
                            |entry: u64| if entry & 1 == 0 { 1 } else { entry.count_ones() - 1 };
                        let entries =
                            (start..end).step_by(8).map(|at| Some(packed(number(at, 8)?)));
                        entries.sum::<Option<u32>>()?.into()
                    }
                    _ => 0,
                };
            }
            Some(relocations)
        };
        let relocations = relocations().ok_or("no ELF file")?;
        Ok(Self {
            megabytes: bytes.len() as f64 / 1e6,
            is_position_independent: number(16, 2) == Some(3),
            is_bound_at_start,
            relocations,
        })
    }
}
