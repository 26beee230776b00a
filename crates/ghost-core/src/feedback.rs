//! What a user says of an answer: how good it was, why, and what would have been right.
//!
//! A request is checked once, by [`Feedback::parse`]. It becomes part of the task's record
//! ([`Event::Rate`](crate::lifecycle::Event)): the last word counts, and it goes when the task goes. Only a completed task
//! can be rated, since any other has no answer.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// The most bytes that one request may have as JSON: everything below, with every character escaped.
pub const MAX_REQUEST_BYTES: usize = 512 << 10;
/// The most bytes that a comment may have.
pub const MAX_COMMENT_BYTES: usize = 4 << 10;
/// The most bytes that a correction may have.
pub const MAX_CORRECTION_BYTES: usize = 64 << 10;

/// What a user says of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feedback {
    /// How good the answer was.
    pub rating: Rating,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The answer that would have been right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<String>,
}

/// How good an answer was: 0 (bad) to 1 (good). In JSON a number, or one of these two words.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
pub struct Rating(f64);

/// Why feedback was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More bytes than [`MAX_REQUEST_BYTES`].
    #[error("feedback has at most {MAX_REQUEST_BYTES} bytes, not {0}")]
    TooLarge(usize),
    /// Not JSON, or not the JSON of feedback.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A text that is too long.
    #[error("{field}: has more than {most} bytes")]
    TooLong {
        /// Which.
        field: &'static str,
        /// How long it may be.
        most: usize,
    },
}

impl Feedback {
    /// This rating, without words.
    pub fn of(rating: Rating) -> Self {
        Self { rating, comment: None, correction: None }
    }

    /// Reads feedback from JSON and checks every field. Words that say nothing are left out.
    ///
    /// # Errors
    /// [`Error`] says what is wrong.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        if json.len() > MAX_REQUEST_BYTES {
            return Err(Error::TooLarge(json.len()));
        }
        // Serde would take an array of values for the fields in their order.
        if json.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
            let words = "feedback is a JSON object: {\"rating\": \"good\"}";
            return Err(<serde_json::Error as serde::de::Error>::custom(words).into());
        }
        serde_json::from_slice::<Self>(json)?.checked()
    }

    /// Checks the lengths, and leaves words out that say nothing.
    ///
    /// # Errors
    /// [`Error::TooLong`] names the field.
    pub fn checked(self) -> Result<Self, Error> {
        let words = |field, text: Option<String>, most| match text {
            Some(text) if text.len() > most => Err(Error::TooLong { field, most }),
            text => Ok(text.filter(|text| !text.trim().is_empty())),
        };
        Ok(Self {
            rating: self.rating,
            comment: words("comment", self.comment, MAX_COMMENT_BYTES)?,
            correction: words("correction", self.correction, MAX_CORRECTION_BYTES)?,
        })
    }
}

impl Rating {
    /// The answer was right.
    pub const GOOD: Self = Self(1.0);
    /// The answer was wrong.
    pub const BAD: Self = Self(0.0);

    /// A rating between the two; none where the number is not from 0 to 1.
    pub fn new(rating: f64) -> Option<Self> {
        // Adding zero turns -0 into 0.
        (0.0..=1.0).contains(&rating).then_some(Self(rating + 0.0))
    }

    /// The number, 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Rating {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl serde::de::Visitor<'_> for Words {
            type Value = Rating;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rating: \"good\", \"bad\" or a number from 0 to 1")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Rating, E> {
                match text {
                    "good" => Ok(Rating::GOOD),
                    "bad" => Ok(Rating::BAD),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Rating, E> {
                let unexpected = serde::de::Unexpected::Float(number);
                Rating::new(number).ok_or_else(|| E::invalid_value(unexpected, &self))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Rating, E> {
                self.visit_f64(number as f64)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Rating, E> {
                self.visit_f64(number as f64)
            }
        }
        deserializer.deserialize_any(Words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Feedback, Error> {
        Feedback::parse(json.as_bytes())
    }

    #[test]
    fn a_rating_is_a_word_or_a_number() {
        for (json, rating) in
            [("\"good\"", 1.0), ("\"bad\"", 0.0), ("0.25", 0.25), ("1", 1.0), ("0", 0.0), ("-0.0", 0.0)]
        {
            let feedback = parse(&format!("{{\"rating\": {json}}}")).expect("a rating");
            assert_eq!(feedback.rating.get().to_bits(), f64::to_bits(rating), "{json}");
            let written = serde_json::to_string(&feedback).expect("JSON");
            assert_eq!(parse(&written).expect("its own form"), feedback);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        for (json, words) in [
            ("{\"rating\": \"meh\"}", "\"good\", \"bad\" or a number from 0 to 1"),
            ("{\"rating\": 1.5}", "a number from 0 to 1"),
            ("{\"rating\": -1}", "a number from 0 to 1"),
            ("{\"rating\": null}", "a number from 0 to 1"),
            ("{\"rating\": true}", "a number from 0 to 1"),
            ("{}", "missing field `rating`"),
            ("{\"rating\": 1, \"stars\": 5}", "unknown field `stars`"),
            ("[1]", "a JSON object"),
            ("\"good\"", "a JSON object"),
            ("", "EOF"),
        ] {
            let refused = parse(json).expect_err(json).to_string();
            assert!(refused.contains(words), "{json}: {refused}");
        }
    }

    #[test]
    fn words_are_bounded_and_left_out_where_they_say_nothing() {
        let long = "x".repeat(MAX_COMMENT_BYTES + 1);
        let refused = parse(&format!("{{\"rating\": 1, \"comment\": \"{long}\"}}")).expect_err("too long");
        assert_eq!(refused.to_string(), "comment: has more than 4096 bytes");
        let silent = parse("{\"rating\": 1, \"comment\": \" \\n\", \"correction\": \"\"}").expect("feedback");
        assert_eq!(silent, Feedback::of(Rating::GOOD));
        let full = "x".repeat(MAX_CORRECTION_BYTES);
        let longest =
            parse(&format!("{{\"rating\": 0, \"correction\": \"{full}\"}}")).expect("as long as may be");
        assert_eq!(longest.correction.map(|text| text.len()), Some(MAX_CORRECTION_BYTES));
        assert!(matches!(Feedback::parse(&vec![b' '; MAX_REQUEST_BYTES + 1]), Err(Error::TooLarge(_))));
    }
}
