//! `completions`: made from the parser.

use clap::Args;
use clap_complete::Shell;

use crate::command::WELL;
use crate::protocol::PROGRAM;
use crate::terminal::Terminal;

/// What `completions` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell that they are for: bash, elvish, fish, powershell or zsh
    #[arg(hide_possible_values = true)]
    shell: Shell,
}

/// Prints the completions.
pub(super) fn run(terminal: &mut Terminal, arguments: &Arguments, parser: &clap::Command) -> u8 {
    let (mut parser, mut script) = (without_hidden_options(parser), Vec::new());
    let name = if arguments.shell == Shell::Bash { WITHOUT_HYPHENS } else { PROGRAM };
    clap_complete::generate(arguments.shell, &mut parser, name, &mut script);
    let script = String::from_utf8_lossy(&script);
    terminal.write(&match arguments.shell {
        Shell::Bash => for_bash(&script),
        // Behind `help` the generator asks for a line without `help`.
        Shell::Fish => script.replace(" help\" -f -a", "\" -f -a"),
        _ => script.into_owned(),
    });
    WELL
}

/// The parser without what nobody is to be led to, such as `--client-secret`, which is there to be
/// refused.
fn without_hidden_options(parser: &clap::Command) -> clap::Command {
    let of = |command: &clap::Command| {
        let options = command.get_arguments().filter(|argument| !argument.is_hide_set());
        // clap takes names that stay for good.
        clap::Command::new(&*command.get_name().to_owned().leak())
            .about(command.get_about().cloned().unwrap_or_default())
            .args(options)
    };
    of(parser).subcommands(parser.get_subcommands().map(of))
}

/// The program's name in the functions of bash. `clap_complete` puts other letters for hyphens in one
/// half of its script than in the other, and then completes nothing behind a subcommand.
const WITHOUT_HYPHENS: &str = "docker_credential_quayfed";

/// The script with the program's own name where it is called by it, and without what only stands for
/// a value, as `[REGISTRY]`: bash would complete that.
fn for_bash(script: &str) -> String {
    let mut lines = String::new();
    for line in script.lines() {
        let (before, words) = line.split_once("opts=\"").unwrap_or((line, ""));
        if let Some(called) = line.strip_suffix(WITHOUT_HYPHENS) {
            lines.push_str(called);
            lines.push_str(PROGRAM);
        } else if let Some(words) = words.strip_suffix('"').filter(|words| !words.is_empty()) {
            let is_word = |word: &&str| !word.starts_with(['[', '<']);
            let words: Vec<&str> = words.split(' ').filter(is_word).collect();
            lines.extend([before, "opts=\"", &words.join(" "), "\""]);
        } else {
            lines.push_str(line);
        }
        lines.push('\n');
    }
    lines
}
