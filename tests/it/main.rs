//! All integration tests, in one binary. Those of `life` run in-process on simulated clocks; the
//! others run the built program, as an ordinary user where owners and modes matter.

#![allow(clippy::disallowed_methods, reason = "a test may look at the clock and wait")]
#![allow(clippy::print_stdout, reason = "a test may tell a figure, or why it shows nothing here")]
#![allow(clippy::unchecked_time_subtraction, reason = "a test that panics has failed")]
#![allow(clippy::needless_pass_by_value, reason = "a table reads better with values")]
#![allow(missing_docs, reason = "a test's name says what it shows")]

mod binary;
mod forging;
mod screens;
mod scripts;
mod simulation;

mod completions;
mod configuration;
mod configure;
mod doctor;
mod explained;
mod floors;
mod forged;
mod help;
mod herd;
mod hot_path;
mod init;
mod interrupted;
mod life;
mod limits;
mod network;
mod printed;
mod proxies;
mod purge;
mod refresh;
mod shipped;
mod status;
mod storage;
mod tls;
mod verbs;
