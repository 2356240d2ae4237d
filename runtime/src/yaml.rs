//! The documents of a YAML text, split here and not by the parser, so that one that cannot be read does not take the others
//! with it.

/// The documents in which anything stands, each with the line at which that begins, from 1.
pub fn documents(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut borders = vec![(1, 0)];
    let mut offset = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        if is_border(line) {
            // What stands behind the mark on its own line belongs to the document.
            borders.push((number, offset + MARK_BYTES));
        }
        offset += line.len();
    }
    let marks = borders.iter().skip(1).map(|(_, begin)| begin - MARK_BYTES);
    let ends: Vec<usize> = marks.chain([text.len()]).collect();
    borders.into_iter().zip(ends).filter_map(|((line, begin), end)| {
        let document = text.get(begin..end)?;
        let mut blank = 0;
        for text in document.split_inclusive('\n') {
            if has_content(text) {
                let lines: u64 =
                    document.get(..blank)?.bytes().map(|it| u64::from(it == b'\n')).sum();
                return Some((line + lines, document.get(blank..)?));
            }
            blank += text.len();
        }
        None
    })
}

/// Of `---` and `...`.
const MARK_BYTES: usize = 3;

/// A line that begins so is always the border of two: whatever belongs to a mapping is indented, or is a key.
fn is_border(line: &str) -> bool {
    let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

fn has_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with(['#', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_their_lines() {
        let of = |text| documents(text).collect::<Vec<_>>();
        for text in ["", "\n\n", "# nothing\n---\n---\n# nothing\n...\n"] {
            assert_eq!(of(text), [], "{text:?}");
        }
        assert_eq!(of("a: 1"), [(1, "a: 1")]);
        assert_eq!(
            of("\u{feff}%YAML 1.2\n---\n# c\na: 1\n...\n---\n\nb: |\n  ---\n  x\n"),
            [(4, "a: 1\n"), (8, "b: |\n  ---\n  x\n"),]
        );
        assert_eq!(of("--- {a: 1}\r\n---\t# c\r\nb: 2\r\n"), [(1, " {a: 1}\r\n"), (3, "b: 2\r\n")]);
        assert_eq!(of("---a: 1\n....\n"), [(1, "---a: 1\n....\n")], "no border");
    }
}
