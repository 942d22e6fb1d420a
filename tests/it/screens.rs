//! Every screen of the commands for people, as the text files in `tests/it/screens` (escape codes
//! and all), and the pictures of them in `docs/pictures`.
//!
//! A test draws a screen by [`drawn`] and holds it to its file by [`check`]. `UPDATE_SCREENS=1`
//! writes the files instead; `make pictures` draws the pictures from them anew.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::rc::Rc;

use anstyle::{AnsiColor, RgbColor};
use anstyle_svg::{Palette, Term};
use quayfed::cli::{self, Command};
use quayfed::command;
use quayfed::failure::Failure;
use quayfed::protocol::PROGRAM;
use quayfed::terminal::{Looks, Terminal};
use quayfed::world::World;

/// A terminal with colours, as wide as most.
pub(crate) const COLOURED: Looks =
    Looks { is_terminal: true, has_colours: true, is_ascii: false, width: 80 };
/// A narrow terminal with colours.
pub(crate) const NARROW: Looks = Looks { width: 48, ..COLOURED };
/// No terminal: a pipe or a file.
pub(crate) const PIPED: Looks = Looks { is_terminal: false, has_colours: false, ..COLOURED };

/// Holds a screen to the file `tests/it/screens/NAME.txt`, or writes it where `UPDATE_SCREENS` is
/// set. Times, ports and paths must be fixed by simulated clocks or replaced before.
#[track_caller]
pub(crate) fn check(name: &str, screen: &str) {
    let path = file(name);
    if is_set("UPDATE_SCREENS") {
        fs::write(&path, screen).expect("written");
        return;
    }
    let wanted = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; UPDATE_SCREENS=1 writes it:\n{screen}", path.display())
    });
    assert!(
        wanted == screen,
        "{} differs; UPDATE_SCREENS=1 writes it anew\n--- wanted\n{wanted}\n--- got\n{screen}",
        path.display()
    );
}

/// What is written to a terminal of these looks.
pub(crate) fn drawn<T>(looks: Looks, draw: impl FnOnce(&mut Terminal) -> T) -> (T, String) {
    let screen = Screen::default();
    let mut terminal = Terminal::to(Box::new(screen.clone()), looks);
    let result = draw(&mut terminal);
    let bytes = screen.0.borrow().clone();
    (result, String::from_utf8(bytes).expect("text"))
}

/// What a command for people draws in a world, and how it ends.
pub(crate) fn ran(
    world: &World,
    looks: Looks,
    arguments: &[&str],
) -> (Result<u8, Failure>, String) {
    let words: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let Command::ForPeople(command) = cli::parse(&words) else { panic!("no command: {words:?}") };
    drawn(looks, |terminal| command::run(world, terminal, &command, cli::parser()))
}

/// What is left on a screen in the end: a carriage return and "erase in line" begin a progress that
/// the next line replaces.
pub(crate) fn left_on(screen: &str) -> String {
    screen
        .split_inclusive('\n')
        .map(|line| line.rsplit("\r\u{1b}[K").next().unwrap_or_default())
        .collect()
}

/// A screen without its escape codes for colours.
pub(crate) fn without_colours(screen: &str) -> String {
    let mut pieces = screen.split("\u{1b}[");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        text.push_str(piece.split_once('m').map_or(piece, |(_, rest)| rest));
    }
    text
}

/// A place to write to that can be looked at.
#[derive(Clone, Default)]
struct Screen(Rc<RefCell<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[allow(clippy::disallowed_methods, reason = "whoever runs the tests says whether to write")]
fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/screens/{name}.txt"))
}

/// The pictures that the documents show: the name of each, its screen, and the command that it is of.
const PICTURES: [(&str, &str, &str); 4] = [
    ("status", "status", "status"),
    ("configure-dry-run", "configure-dry-run-coloured", "configure --dry-run"),
    ("doctor-pass", "doctor_pass", "doctor --repository acme/app"),
    ("doctor-refusal", "doctor_refusal", "doctor"),
];

/// The sixteen colours on [`PAPER`], each with a contrast of 4.5 at least.
const PALETTE: Palette = Palette([
    RgbColor(0x6e, 0x76, 0x81),
    RgbColor(0xff, 0x7b, 0x72),
    RgbColor(0x56, 0xd3, 0x64),
    RgbColor(0xe3, 0xb3, 0x41),
    RgbColor(0x79, 0xc0, 0xff),
    RgbColor(0xd2, 0xa8, 0xff),
    RgbColor(0x56, 0xd4, 0xdd),
    RgbColor(0xe6, 0xed, 0xf3),
    RgbColor(0x8b, 0x94, 0x9e),
    RgbColor(0xff, 0xa1, 0x98),
    RgbColor(0x7e, 0xe7, 0x87),
    RgbColor(0xf2, 0xcc, 0x60),
    RgbColor(0xa5, 0xd6, 0xff),
    RgbColor(0xe2, 0xc5, 0xff),
    RgbColor(0xb3, 0xf0, 0xff),
    RgbColor(0xff, 0xff, 0xff),
]);

/// The background: a picture has its own, so that it reads the same on light and dark pages.
const PAPER: RgbColor = RgbColor(0x16, 0x1b, 0x22);

/// A screen with blanks up to the next tab stop for each tab, as a terminal shows it.
fn without_tabs(screen: &str) -> String {
    const STOPS: usize = 8;
    let (mut text, mut column, mut is_escape) = (String::new(), 0, false);
    for character in screen.chars() {
        match character {
            '\t' => {
                let blanks = STOPS - column % STOPS;
                text.push_str(&" ".repeat(blanks));
                column += blanks;
                continue;
            }
            '\n' => column = 0,
            '\u{1b}' => is_escape = true,
            _ if is_escape => is_escape = character != 'm',
            _ => column += 1,
        }
        text.push(character);
    }
    text
}

/// A screen as SVG, beneath the command that it is of.
fn picture(command: &str, screen: &str) -> String {
    let prompt = format!("\u{1b}[2m$\u{1b}[0m {PROGRAM} {command}");
    let screen = format!("{prompt}\n{}", without_tabs(left_on(screen).trim_end()));
    let svg = Term::new()
        .palette(PALETTE)
        .fg_color(AnsiColor::White.into())
        .bg_color(PAPER.into())
        .render_svg(&screen);
    // What is less important is still to be read; a tspan has no opacity but that of its fill.
    svg.replace(".dimmed { opacity: 0.4; }", ".dimmed { fill-opacity: 0.7; }")
}

#[test]
fn pictures_are_those_of_the_screens() {
    for (name, screen, command) in PICTURES {
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("docs/pictures/{name}.svg"));
        let screen = fs::read_to_string(file(screen))
            .unwrap_or_else(|error| panic!("{}: {error}", file(screen).display()));
        let wanted = picture(command, &screen);
        if is_set("UPDATE_PICTURES") {
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(&path, wanted).expect("written");
        } else {
            let is_current = fs::read_to_string(&path).is_ok_and(|there| there == wanted);
            assert!(is_current, "{} is not current: run `make pictures`", path.display());
        }
    }
}

#[test]
fn every_colour_of_the_pictures_can_be_read() {
    let luminance = |RgbColor(red, green, blue): RgbColor| {
        let linear = |channel: u8| {
            let channel = f64::from(channel) / 255.0;
            if channel <= 0.04045 { channel / 12.92 } else { ((channel + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    };
    for color in [AnsiColor::White, AnsiColor::Red, AnsiColor::Green, AnsiColor::Yellow]
        .into_iter()
        .chain([AnsiColor::Cyan])
    {
        let contrast = (luminance(PALETTE.get(color)) + 0.05) / (luminance(PAPER) + 0.05);
        assert!(contrast >= 4.5, "{color:?}: {contrast}");
    }
}

#[test]
fn the_screens_of_status_refresh_and_purge_fit_their_looks() {
    for entry in fs::read_dir(file("status").parent().expect("a folder")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if !["status", "refresh", "purge"].iter().any(|command| name.starts_with(command)) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        let width = if name.ends_with("narrow") { NARROW.width } else { COLOURED.width };
        for line in without_colours(&text).lines() {
            assert!(line.chars().count() <= width, "{name}: {line}");
        }
    }
}
