//! What our children said, kept until it is clear whether the test failed.
//!
//! A test's servers are dropped, and their folders removed, before the test's result is seen. So the end
//! of each log is kept here, under the name of the thread that started the process: libtest names threads
//! after tests.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of each file this many lines are kept.
const LINES_MAX: usize = 40;

/// Of this many ended processes logs are kept; then the oldest goes.
const ENDED_MAX: usize = 64;

static BOOK: Mutex<Book> = Mutex::new(Book { alive: Vec::new(), ended: VecDeque::new(), next: 0 });

struct Book {
    alive: Vec<(u64, Entry)>,
    ended: VecDeque<(String, String)>,
    next: u64,
}

struct Entry {
    owner: String,
    process: String,
    files: Vec<PathBuf>,
}

/// Files that are read when this is dropped, which must be before they are removed.
#[derive(Debug)]
pub(crate) struct Kept(u64);

/// Keeps the end of these files for the test that runs on this thread.
pub(crate) fn keep(process: &str, files: Vec<PathBuf>) -> Kept {
    let mut book = book();
    let number = book.next;
    book.next += 1;
    let entry = Entry { owner: owner(), process: process.to_owned(), files };
    book.alive.push((number, entry));
    Kept(number)
}

/// Prints, to standard error, what the processes of the test on this thread said.
pub(crate) fn print() {
    let owner = owner();
    let book = book();
    let ended = book.ended.iter().filter(|(by, _)| *by == owner).map(|(_, text)| text.clone());
    let alive = book.alive.iter().filter(|(_, it)| it.owner == owner).map(|(_, it)| it.text());
    for text in ended.chain(alive) {
        // Standard error is where a person looks; if it is closed nobody does.
        std::io::stderr().write_all(text.as_bytes()).ok();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut book = book();
        let Some(place) = book.alive.iter().position(|(number, _)| *number == self.0) else {
            return;
        };
        let (_, entry) = book.alive.swap_remove(place);
        let text = entry.text();
        book.ended.push_back((entry.owner, text));
        if book.ended.len() > ENDED_MAX {
            book.ended.pop_front();
        }
    }
}

impl Entry {
    fn text(&self) -> String {
        let tails = self.files.iter().filter_map(|file| {
            let tail = tail(file)?;
            Some(format!("--- {} of {}, its end:\n{tail}\n", file_name(file), self.process))
        });
        tails.collect()
    }
}

/// The last lines of a file; `None` if there is nothing in it.
fn tail(file: &Path) -> Option<String> {
    let bytes = std::fs::read(file).ok()?;
    let tail = tail_of(&String::from_utf8_lossy(&bytes));
    (!tail.is_empty()).then_some(tail)
}

/// The last lines of a text.
pub(crate) fn tail_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LINES_MAX);
    lines[from..].join("\n")
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn owner() -> String {
    std::thread::current().name().unwrap_or("?").to_owned()
}

fn book() -> MutexGuard<'static, Book> {
    BOOK.lock().unwrap_or_else(PoisonError::into_inner)
}
