//! Holds an answer to its [`Shape`] byte by byte, before a token is taken.
//!
//! Pure: a [`Constraint`] knows bytes and no model, so that its promises are tested without one. The sampler asks
//! [`Constraint::allows`] for a token's bytes, takes the likeliest that is allowed, and tells with
//! [`Constraint::accept`] what it took.

use ghost_core::inference::Shape;

use self::grammar::Grammar;
use self::json_of_spans::JsonOfSpans;

mod grammar;
mod json_of_spans;
mod schema;

/// What an answer may go on with.
pub(crate) trait Constraint {
    /// Whether these bytes, at least one, may come next.
    fn allows(&self, bytes: &[u8]) -> bool;

    /// Notes that these bytes, which are allowed, did come next.
    fn accept(&mut self, bytes: &[u8]);

    /// Whether the answer may end here.
    fn may_end(&self) -> bool;
}

/// The constraint of this shape; none for any text.
///
/// # Errors
/// In words, what is wrong with the shape.
pub(crate) fn of(shape: &Shape) -> Result<Option<Box<dyn Constraint>>, String> {
    Ok(Some(match shape {
        Shape::Text => return Ok(None),
        Shape::Line => Box::new(Line::default()),
        Shape::Choice(choices) => Box::new(Choice::new(choices)?),
        Shape::Span(source) => Box::new(Span::new(source)?),
        Shape::JsonOfSpans { schema, source } => Box::new(JsonOfSpans::new(schema, source)?),
        Shape::Json(schema) => Box::new(Grammar::new(&schema::grammar(schema)?)?),
        Shape::Grammar(text) => Box::new(Grammar::new(text)?),
    }))
}

/// One line with something to see in it. A newline behind that is allowed, since it ends the line.
#[derive(Default)]
struct Line {
    visible: bool,
    /// The beginning of a character whose end is yet to come.
    partial: Vec<u8>,
}

impl Line {
    fn after(&self, bytes: &[u8]) -> Option<Line> {
        let mut visible = self.visible;
        let partial = each_char(&self.partial, bytes, |c| {
            if c == '\n' || c == '\r' {
                return visible;
            }
            visible |= !c.is_whitespace() && !c.is_control();
            true
        })?;
        Some(Line { visible, partial })
    }
}

impl Constraint for Line {
    fn allows(&self, bytes: &[u8]) -> bool {
        self.after(bytes).is_some()
    }

    fn accept(&mut self, bytes: &[u8]) {
        *self = self.after(bytes).expect("only allowed bytes are accepted");
    }

    fn may_end(&self) -> bool {
        self.visible && self.partial.is_empty()
    }
}

/// Exactly one of some strings.
struct Choice {
    /// What is left of each choice that is still possible.
    rests: Vec<Vec<u8>>,
}

impl Choice {
    fn new(choices: &[String]) -> Result<Self, String> {
        if choices.is_empty() || choices.iter().any(String::is_empty) {
            return Err("a choice needs at least one string, and none may be empty".into());
        }
        Ok(Self { rests: choices.iter().map(|choice| choice.clone().into_bytes()).collect() })
    }
}

impl Constraint for Choice {
    fn allows(&self, bytes: &[u8]) -> bool {
        self.rests.iter().any(|rest| rest.starts_with(bytes))
    }

    fn accept(&mut self, bytes: &[u8]) {
        self.rests.retain(|rest| rest.starts_with(bytes));
        for rest in &mut self.rests {
            rest.drain(..bytes.len());
        }
    }

    fn may_end(&self) -> bool {
        self.rests.iter().any(Vec::is_empty)
    }
}

/// A part of a text in whole characters, the first of which can be seen.
struct Span {
    source: String,
    /// Where in the source the answer so far may end; where it may begin, before it does.
    ends: Vec<usize>,
    begun: bool,
}

impl Span {
    fn new(source: &str) -> Result<Self, String> {
        let begins = source.char_indices().filter(|(_, c)| !c.is_whitespace());
        let ends: Vec<usize> = begins.map(|(at, _)| at).collect();
        if ends.is_empty() {
            return Err("there is nothing to take a part of".into());
        }
        Ok(Self { source: source.to_owned(), ends, begun: false })
    }
}

impl Constraint for Span {
    fn allows(&self, bytes: &[u8]) -> bool {
        self.ends.iter().any(|&end| self.source.as_bytes()[end..].starts_with(bytes))
    }

    fn accept(&mut self, bytes: &[u8]) {
        let source = self.source.as_bytes();
        self.ends.retain(|&end| source[end..].starts_with(bytes));
        for end in &mut self.ends {
            *end += bytes.len();
        }
        self.begun = true;
    }

    fn may_end(&self) -> bool {
        self.begun && self.ends.iter().any(|&end| self.source.is_char_boundary(end))
    }
}

/// Shows every character that `bytes` complete, the first perhaps begun by `partial`, to `accepts`. Returns the
/// beginning of the next one, or nothing where a character is refused or the bytes are no UTF-8.
fn each_char(partial: &[u8], bytes: &[u8], mut accepts: impl FnMut(char) -> bool) -> Option<Vec<u8>> {
    let bytes = [partial, bytes].concat();
    let (whole, rest) = match std::str::from_utf8(&bytes) {
        Ok(whole) => (whole, &[][..]),
        Err(error) if error.error_len().is_some() => return None,
        Err(error) => {
            let (whole, rest) = bytes.split_at(error.valid_up_to());
            (std::str::from_utf8(whole).expect("valid up to here"), rest)
        }
    };
    whole.chars().all(&mut accepts).then(|| rest.to_vec())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes an answer by choosing, byte by byte, from what is allowed; `picks` decides. Ends where it may and
    /// either a pick says so or nothing else is allowed.
    pub(crate) fn walk(constraint: &mut dyn Constraint, picks: &[u8]) -> Option<Vec<u8>> {
        let mut written = Vec::new();
        for &pick in picks {
            let allowed: Vec<u8> = (0..=255).filter(|&byte| constraint.allows(&[byte])).collect();
            if constraint.may_end() && (allowed.is_empty() || pick % 8 == 0) {
                return Some(written);
            }
            assert!(!allowed.is_empty(), "stuck after {:?}", String::from_utf8_lossy(&written));
            let byte = allowed[pick as usize * allowed.len() / 256];
            constraint.accept(&[byte]);
            written.push(byte);
        }
        constraint.may_end().then_some(written)
    }

    /// Whether the constraint takes all of this and may then end.
    pub(crate) fn takes(shape: &Shape, answer: &str) -> bool {
        let mut constraint = of(shape).expect("a good shape").expect("a constraint");
        // Once in pieces of three bytes and once in bytes: the borders of tokens make no difference.
        let in_bytes = answer.bytes().all(|byte| {
            let allowed = constraint.allows(&[byte]);
            if allowed {
                constraint.accept(&[byte]);
            }
            allowed
        }) && constraint.may_end();
        let mut constraint = of(shape).expect("a good shape").expect("a constraint");
        let in_pieces = answer.as_bytes().chunks(3).all(|piece| {
            let allowed = constraint.allows(piece);
            if allowed {
                constraint.accept(piece);
            }
            allowed
        }) && constraint.may_end();
        assert_eq!(in_bytes, in_pieces, "{answer:?}");
        in_bytes
    }

    #[test]
    fn a_line_has_something_to_see_and_ends_at_a_newline() {
        assert!(takes(&Shape::Line, "Déjà vu 👻"));
        assert!(takes(&Shape::Line, "done\n"));
        assert!(!takes(&Shape::Line, ""));
        assert!(!takes(&Shape::Line, "   "));
        assert!(!takes(&Shape::Line, "\ndone"));
    }

    #[test]
    fn a_line_is_never_broken_utf_8() {
        let line = Line::default();
        assert!(!line.allows(b"\xff"));
        assert!(!line.allows(b"\xc3("));
        let half = line.after(b"caf\xc3").expect("the beginning of a letter");
        assert!(!half.may_end());
        assert!(!half.allows(b"x"));
        assert!(half.after(b"\xa9").expect("its end").may_end());
    }

    #[test]
    fn a_choice_is_one_of_them_and_complete() {
        let shape = Shape::Choice(vec!["spam".into(), "spam filter".into(), "größe".into()]);
        assert!(takes(&shape, "spam"));
        assert!(takes(&shape, "spam filter"));
        assert!(takes(&shape, "größe"));
        assert!(!takes(&shape, "spa"));
        assert!(!takes(&shape, "spam f"));
        assert!(!takes(&shape, "Spam"));
    }

    #[test]
    fn a_span_is_a_part_of_the_source_in_whole_characters() {
        let shape = Shape::Span("The café closes at 5\u{202f}pm.".into());
        assert!(takes(&shape, "café"));
        assert!(takes(&shape, "e"));
        assert!(!takes(&shape, "cafe"));
        assert!(!takes(&shape, ""));
        assert!(!takes(&shape, " "));
        assert!(!takes(&shape, " closes"));
        let mut span = Span::new("é").expect("a source");
        assert!(!span.allows(b"\xa9"), "a span does not begin inside a character");
        span.accept(b"\xc3");
        assert!(!span.may_end(), "nor end inside one");
    }

    #[test]
    fn shapes_that_allow_nothing_are_refused() {
        assert!(of(&Shape::Choice(vec![])).is_err());
        assert!(of(&Shape::Choice(vec![String::new()])).is_err());
        assert!(of(&Shape::Span(" \n".into())).is_err());
    }

    proptest! {
        #[test]
        fn whatever_a_span_allows_is_in_the_source(
            source in "[ab é👻\n]{1,30}", picks in prop::collection::vec(any::<u8>(), 1..60),
        ) {
            prop_assume!(!source.trim().is_empty());
            if let Some(answer) = walk(&mut Span::new(&source).expect("a source"), &picks) {
                let answer = String::from_utf8(answer).expect("whole characters");
                prop_assert!(source.contains(&answer) && !answer.trim().is_empty());
            }
        }

        #[test]
        fn whatever_a_choice_allows_is_one_of_them(
            choices in prop::collection::vec("[abé]{1,5}", 1..6), picks in prop::collection::vec(any::<u8>(), 24),
        ) {
            let answer = walk(&mut Choice::new(&choices).expect("choices"), &picks).expect("a choice is short");
            prop_assert!(choices.contains(&String::from_utf8(answer).expect("valid UTF-8")));
        }

        #[test]
        fn whatever_a_line_allows_is_one_line(picks in prop::collection::vec(any::<u8>(), 1..40)) {
            if let Some(answer) = walk(&mut Line::default(), &picks) {
                let answer = String::from_utf8(answer).expect("valid UTF-8");
                prop_assert!(!answer.lines().next().unwrap_or_default().trim().is_empty());
            }
        }
    }
}
