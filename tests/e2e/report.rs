//! What was tried, how it ended, and how long it took.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::Part;

/// The rows of the table, in the order played.
pub(crate) struct Report {
    rows: Vec<Row>,
    part: &'static str,
    client: String,
    version: String,
    parts: Vec<(&'static str, Duration)>,
}

struct Row {
    part: &'static str,
    client: String,
    version: String,
    operation: String,
    outcome: Outcome,
    seconds: f64,
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

impl Outcome {
    const fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "FAILED",
            Self::Skipped(_) => "skipped",
        }
    }
}

impl Report {
    pub(crate) fn new() -> Self {
        // What a panic says is part of its row.
        std::panic::set_hook(Box::new(|_| {}));
        Self {
            rows: Vec::new(),
            part: "",
            client: String::new(),
            version: String::new(),
            parts: Vec::new(),
        }
    }

    /// Names the program whose operations follow.
    pub(crate) fn client(&mut self, name: &str, version: &str) {
        name.clone_into(&mut self.client);
        version.clone_into(&mut self.version);
    }

    /// Plays one operation. It fails by an `Err` or by a panic, and the next one is played anyway;
    /// the answer is whether it passed, for those that make no sense without it.
    pub(crate) fn operation(
        &mut self,
        name: &str,
        play: impl FnOnce() -> Result<(), String>,
    ) -> bool {
        let began = Instant::now();
        let outcome = match catch_unwind(AssertUnwindSafe(play)) {
            Ok(Ok(())) => Outcome::Passed,
            Ok(Err(text)) => Outcome::Failed(text),
            Err(panic) => Outcome::Failed(text_of(&*panic)),
        };
        let passed = matches!(outcome, Outcome::Passed);
        self.add(name, outcome, began.elapsed());
        passed
    }

    /// Leaves out an operation that this machine cannot have.
    pub(crate) fn skip(&mut self, operation: &str, reason: &str) {
        self.add(operation, Outcome::Skipped(reason.to_owned()), Duration::ZERO);
    }

    pub(crate) fn skip_part(&mut self, part: &'static str, reason: &str) {
        self.begin(part);
        self.skip("all of it", reason);
    }

    /// Plays a part. What fails outside of its operations (a scene that cannot be set up) is a row
    /// too.
    pub(crate) fn play(&mut self, part: &Part) {
        self.begin(part.name);
        let began = Instant::now();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (part.run)(self))) {
            self.add("the scene", Outcome::Failed(text_of(&*panic)), began.elapsed());
        }
        self.parts.push((part.name, began.elapsed()));
    }

    fn begin(&mut self, part: &'static str) {
        println!("\n== {part}");
        self.part = part;
        self.client(part, "");
    }

    fn add(&mut self, operation: &str, outcome: Outcome, took: Duration) {
        let seconds = took.as_secs_f64();
        let (name, client) = (outcome.name(), &self.client);
        println!("{name:7}  {client}: {operation}  ({seconds:.1} s)");
        if let Outcome::Failed(text) | Outcome::Skipped(text) = &outcome {
            println!("{}", indented(text));
        }
        self.rows.push(Row {
            part: self.part,
            client: client.clone(),
            version: self.version.clone(),
            operation: operation.to_owned(),
            outcome,
            seconds,
        });
    }

    /// Prints the table and the summary; says whether all is well.
    pub(crate) fn finish(self, no_skip: bool) -> bool {
        self.print_table();
        println!();
        for (part, took) in &self.parts {
            println!("{part}: {:.1} s", took.as_secs_f64());
        }
        for row in &self.rows {
            let (what, text) = match &row.outcome {
                Outcome::Passed => continue,
                Outcome::Failed(text) => ("failed", text),
                Outcome::Skipped(text) => ("skipped", text),
            };
            let (part, client, operation) = (row.part, &row.client, &row.operation);
            println!("\n{what}: {part}: {client}: {operation}\n{}", indented(text));
        }
        let count =
            |of: fn(&Outcome) -> bool| self.rows.iter().filter(|row| of(&row.outcome)).count();
        let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
        let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        let passed = self.rows.len() - failed - skipped;
        println!("\n{passed} passed, {failed} failed, {skipped} skipped");
        failed == 0 && !(no_skip && skipped > 0)
    }

    fn print_table(&self) {
        let header = ["client", "version", "operation", "result", "seconds"].map(str::to_owned);
        let rows = self.rows.iter().map(|row| {
            [
                row.client.clone(),
                row.version.clone(),
                row.operation.clone(),
                row.outcome.name().to_owned(),
                format!("{:.1}", row.seconds),
            ]
        });
        let lines: Vec<[String; 5]> = std::iter::once(header).chain(rows).collect();
        let widths: [usize; 5] = std::array::from_fn(|column| {
            lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
        });
        println!();
        for line in lines {
            let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            println!("{}", cells.collect::<Vec<_>>().join(" | ").trim_end());
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("         {line}")).collect::<Vec<_>>().join("\n")
}
