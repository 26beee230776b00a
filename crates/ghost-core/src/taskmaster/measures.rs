//! Measures how a prompt is built: how long its words and sentences are, how many numbers and marks it has, how its
//! options differ. No word counts by what it means, so measures carry over from one subject to the next.
//!
//! One pass over the characters. [`need`](super::need) learns what the measures say together.

use std::sync::LazyLock;

use super::signs::{self, Lexicon};

/// How many measures there are.
pub const MEASURES: usize = NAMES.len();
/// How many buckets the vocabulary has.
pub const VOCABULARY: usize = 1 << 15;

const LONG_WORD: u32 = 9;
const SHORT_WORD: u32 = 3;
const MAX_OPTIONS: usize = 10;

/// Each measure's name, and what a prompt is like that has much of it and little of it, as the end of "because it …",
/// where that says something to a reader.
pub const NAMES: [(&str, &str, &str); 95] = [
    ("bytes", "is long", "is short"),
    ("words", "has many words", "has few words"),
    ("word_length", "uses long words", "uses short words"),
    ("long_words", "uses many long words", "uses few long words"),
    ("short_words", "uses many short words", "uses few short words"),
    ("longest_word", "has a very long word", ""),
    ("numbers", "has many numbers", "has few numbers"),
    ("number_share", "is mostly numbers", ""),
    ("longest_number", "has large numbers", ""),
    ("decimals", "has decimal numbers", ""),
    ("percents", "speaks of percentages", ""),
    ("dollars", "has formulas or prices", ""),
    ("digits", "has many digits", ""),
    ("capitals", "has many capitals", ""),
    ("marks", "has many marks", "has few marks"),
    ("lines", "has many lines", ""),
    ("line_share", "has short lines", ""),
    ("equals", "has equations", ""),
    ("operators", "has operators", ""),
    ("hyphens", "has many hyphens", ""),
    ("backslashes", "has formulas", ""),
    ("commas", "has many commas", ""),
    ("comma_share", "has many enumerations", ""),
    ("semicolons", "has semicolons", ""),
    ("brackets", "has many brackets", ""),
    ("quotes", "quotes something", ""),
    ("apostrophes", "", ""),
    ("questions", "asks several questions", ""),
    ("ends_asking", "ends with a question", ""),
    ("ends_with_colon", "ends with a colon", ""),
    ("ends_with_stop", "ends with a statement", ""),
    ("ends_open", "breaks off for the answer", ""),
    ("blank", "has a blank to fill in", ""),
    ("question_bytes", "describes at length what it asks", "asks in few words"),
    ("question_words", "", ""),
    ("sentences", "has many sentences", "has few sentences"),
    ("sentence_words", "has long sentences", "has short sentences"),
    ("last_sentence", "ends with a long sentence", ""),
    ("options", "offers options", ""),
    ("option_bytes", "offers long options", "offers short options"),
    ("longest_option", "", ""),
    ("shortest_option", "", ""),
    ("option_spread", "offers options of different lengths", ""),
    ("option_share", "consists mostly of options", ""),
    ("numeric_options", "offers numbers to choose from", ""),
    ("capital_options", "", ""),
    ("stopped_options", "offers whole sentences to choose from", ""),
    ("comma_options", "offers lists to choose from", ""),
    ("option_overlap", "offers options that differ little", "offers options that differ much"),
    ("option_echo", "offers options that repeat the question", ""),
    ("distinct_words", "repeats few words", "repeats many words"),
    ("foreign_letters", "has foreign letters or symbols", ""),
    ("acronyms", "has acronyms", ""),
    ("names", "has many names", ""),
    ("single_letters", "has variables", ""),
    ("negation", "negates", ""),
    ("hedging", "asks for what is likely or best", ""),
    ("asking", "", ""),
    ("logic", "sets conditions", ""),
    ("comparison", "compares amounts", ""),
    ("persons", "tells of persons", ""),
    ("articles", "", ""),
    ("prepositions", "", ""),
    ("conjunctions", "", ""),
    ("being", "", ""),
    ("law", "speaks of law", ""),
    ("statements", "judges statements", ""),
    ("past", "", ""),
    ("time", "speaks of times", ""),
    ("modals", "", ""),
    ("steps", "takes several steps", ""),
    ("number_words", "", ""),
    ("fractions", "speaks of shares", ""),
    ("emphatic_negation", "asks for the exception", ""),
    ("letter_entropy", "is varied in its letters", ""),
    ("distinct_numbers", "has many different numbers", "has few different numbers"),
    ("question_numbers", "asks with numbers", ""),
    ("option_numbers", "offers numbers", ""),
    ("asked_names", "names much in its question", ""),
    ("asked_name_share", "", ""),
    ("option_words", "offers long options", "offers short options"),
    ("option_deviation", "offers options of different lengths", ""),
    ("single_options", "offers single words to choose from", ""),
    ("digit_options", "offers numbers to choose from", ""),
    ("all_numeric", "offers numbers to choose from", ""),
    ("begins_which", "", ""),
    ("begins_what", "", ""),
    ("begins_how", "", ""),
    ("begins_who", "", ""),
    ("begins_when", "", ""),
    ("begins_the", "", ""),
    ("begins_a", "", ""),
    ("begins_in", "", ""),
    ("begins_if", "begins with a condition", ""),
    ("begins_let", "begins with an assumption", ""),
];

const LEXICON: &[(usize, &str)] = &[
    (0, "not no never none without except neither nor cannot"),
    (1, "may might could would should probably likely most best least"),
    (2, "what which who whom whose when where why how"),
    (3, "if then all some any every only therefore because implies false true"),
    (4, "more less greater than higher lower larger smaller better"),
    (5, "he she his her they their you your we our i my"),
    (6, "the a an"),
    (7, "of in on at by for with from to into"),
    (8, "and or but"),
    (9, "is are was were be been being"),
    (10, "court plaintiff defendant law state contract statute property liable"),
    (11, "following statement statements correct"),
    (12, "past had did said"),
    (13, "time year years day days hour hours week month"),
    (14, "can will must shall"),
    (15, "each every per half third quarter twice double triple times percent total more less fewer than"),
    (15, "remaining left rest after before then if first second average ratio combined altogether"),
    (NUMBER_WORDS, "one two three four five six seven eight nine ten eleven twelve dozen hundred thousand"),
    (FRACTIONS, "percent half third"),
];
const NUMBER_WORDS: usize = 16;
const FRACTIONS: usize = 17;
const GROUPS: usize = LEXICON[LEXICON.len() - 1].0 + 1;
static GROUP_OF: LazyLock<Lexicon<usize>> = LazyLock::new(|| Lexicon::new(LEXICON));

/// The words that a question may begin with, as far as they are measured.
const BEGINNINGS: [(usize, &str); 10] = [
    (0, "which"),
    (1, "what"),
    (2, "how"),
    (3, "who"),
    (4, "when"),
    (5, "the"),
    (6, "a"),
    (7, "in"),
    (8, "if"),
    (9, "let"),
];
static BEGINNING_OF: LazyLock<Lexicon<usize>> = LazyLock::new(|| Lexicon::new(&BEGINNINGS));

/// How a prompt is built, and of which words.
#[derive(Debug, Clone, PartialEq)]
pub struct Measures {
    /// In the order of [`NAMES`].
    pub values: [f32; MEASURES],
    /// The buckets of its words, each once.
    pub vocabulary: Vec<u16>,
    /// How many options it offers.
    pub options: usize,
    /// How many numbers it has, written as digits or as words, shares included.
    pub quantities: u32,
    /// How many question marks.
    pub questions: u32,
    /// How many marks of a formula: backslashes, and dollars before anything but a price.
    pub formulas: u32,
    /// How many dollar signs.
    pub dollars: u32,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            values: [0.0; MEASURES],
            vocabulary: Vec::new(),
            options: 0,
            quantities: 0,
            questions: 0,
            formulas: 0,
            dollars: 0,
        }
    }
}

impl Measures {
    /// Of a text that is an excerpt from `bytes` bytes.
    pub fn of(text: &str, bytes: usize) -> Self {
        let mut tally = Tally::new();
        let mut lines = text.split('\n');
        tally.line(lines.next().unwrap_or_default());
        for line in lines {
            tally.character('\n');
            tally.lines += 1;
            tally.line(line);
        }
        tally.end_word();
        tally.end_number();
        Self {
            values: tally.values(text, bytes),
            options: tally.choices.len(),
            quantities: tally.numbers + tally.groups[NUMBER_WORDS] + tally.groups[FRACTIONS],
            questions: tally.letters_seen[usize::from(b'?')],
            formulas: tally.formulas,
            dollars: tally.letters_seen[usize::from(b'$')],
            vocabulary: tally.vocabulary,
        }
    }
}

/// A set of hashes by their lowest bits.
struct Seen<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Seen<WORDS> {
    fn has(&self, hash: usize) -> bool {
        self.0[hash / 64 % WORDS] & 1 << (hash % 64) != 0
    }

    /// Whether it was not there yet.
    fn insert(&mut self, hash: usize) -> bool {
        let fresh = !self.has(hash);
        self.0[hash / 64 % WORDS] |= 1 << (hash % 64);
        fresh
    }
}

#[derive(Default)]
struct Choice {
    bytes: usize,
    words: u128,
    count: u32,
    echoed: u32,
    numeric: bool,
    digits: bool,
    capital: bool,
    stopped: bool,
    comma: bool,
}

/// What the pass over the characters counts.
struct Tally {
    vocabulary: Vec<u16>,
    seen: Seen<{ VOCABULARY / 64 }>,
    asked: Seen<64>,
    letters_seen: [u32; 128],
    word: (u64, u32, u32, bool),
    number: (u64, u32, bool),
    before: char,
    choices: Vec<Choice>,
    characters: u32,
    foreign: u32,
    words: u32,
    word_letters: u32,
    long_words: u32,
    short_words: u32,
    longest_word: u32,
    distinct: u32,
    acronyms: u32,
    names: u32,
    single: u32,
    groups: [u32; GROUPS],
    beginning: Option<usize>,
    asked_names: u32,
    numbers: u32,
    numbers_seen: Seen<8>,
    distinct_numbers: u32,
    question_numbers: u32,
    longest_number: u32,
    decimals: u32,
    digits: u32,
    formulas: u32,
    capitals: u32,
    marks: u32,
    lines: u32,
    sentences: u32,
    question_bytes: usize,
    question_words: u32,
    since_stop: u32,
    last_mark: char,
}

impl Tally {
    fn new() -> Self {
        Self {
            vocabulary: Vec::with_capacity(256),
            seen: Seen([0; VOCABULARY / 64]),
            asked: Seen([0; 64]),
            letters_seen: [0; 128],
            word: (signs::EMPTY_WORD, 0, 0, false),
            number: (signs::EMPTY_WORD, 0, false),
            before: ' ',
            choices: Vec::new(),
            characters: 0,
            foreign: 0,
            words: 0,
            word_letters: 0,
            long_words: 0,
            short_words: 0,
            longest_word: 0,
            distinct: 0,
            acronyms: 0,
            names: 0,
            single: 0,
            groups: [0; GROUPS],
            beginning: None,
            asked_names: 0,
            numbers: 0,
            numbers_seen: Seen([0; 8]),
            distinct_numbers: 0,
            question_numbers: 0,
            longest_number: 0,
            decimals: 0,
            digits: 0,
            formulas: 0,
            capitals: 0,
            marks: 0,
            lines: 0,
            sentences: 0,
            question_bytes: 0,
            question_words: 0,
            since_stop: 0,
            last_mark: ' ',
        }
    }

    fn line(&mut self, mut line: &str) {
        if let Some(option) = option(line, self.choices.len()) {
            // The letter before an option is no word.
            line = option;
            let first = option.chars().next().unwrap_or(' ');
            self.choices.push(Choice {
                bytes: option.len(),
                numeric: first.is_ascii_digit()
                    || matches!(first, '-' | '$' | '(')
                        && option[1..].starts_with(|c: char| c.is_ascii_digit()),
                capital: first.is_uppercase(),
                stopped: option.trim_end().ends_with('.'),
                comma: option.contains(','),
                ..Choice::default()
            });
        } else if self.choices.is_empty() {
            self.question_bytes += line.len() + 1;
        }
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            if letters > 0 {
                self.letters(&rest.as_bytes()[..letters]);
                rest = &rest[letters..];
            } else {
                self.character(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }

    /// A run of ASCII letters, of which most text is made: the same as one [`character`](Self::character) after the other.
    fn letters(&mut self, letters: &[u8]) {
        self.end_number();
        let count = letters.len() as u32;
        self.characters += count;
        self.formulas += u32::from(self.before == '$');
        let (mut hash, length, capitals, first) = self.word;
        let mut upper = 0;
        for letter in letters {
            let lower = letter.to_ascii_lowercase();
            upper += u32::from(letter.is_ascii_uppercase());
            self.letters_seen[usize::from(lower)] += 1;
            hash = signs::extend(hash, char::from(lower));
        }
        let first = first || length == 0 && letters[0].is_ascii_uppercase();
        self.word = (hash, length + count, capitals + upper, first);
        self.capitals += upper;
        self.before = char::from(letters[letters.len() - 1]);
        if self.choices.is_empty() {
            self.since_stop += count;
            self.last_mark = self.before;
        }
    }

    fn character(&mut self, c: char) {
        self.characters += 1;
        let formula = c == '\\' || self.before == '$' && (c.is_ascii_alphabetic() || c == '(');
        self.formulas += u32::from(formula);
        let ascii = c.is_ascii();
        if ascii {
            self.letters_seen[usize::from(c.to_ascii_lowercase() as u8)] += 1;
        } else {
            self.foreign += 1;
        }
        if c.is_alphabetic() {
            self.end_number();
            let capital = c.is_uppercase();
            self.capitals += u32::from(capital);
            let (hash, length, capitals, first) = &mut self.word;
            *first |= *length == 0 && capital;
            *length += 1;
            *capitals += u32::from(capital);
            let lower = if ascii { c.to_ascii_lowercase() } else { c.to_lowercase().next().unwrap_or(c) };
            *hash = signs::extend(*hash, lower);
        } else {
            self.end_word();
            if c.is_ascii_digit() {
                self.digits += 1;
                let (hash, digits, decimal) = &mut self.number;
                *decimal |= self.before == '.' && *digits > 0;
                *digits += 1;
                *hash = signs::extend(*hash, c);
            } else if !(matches!(c, '.' | ',') && self.before.is_ascii_digit()) {
                self.end_number();
            }
            if !c.is_whitespace() && !c.is_numeric() {
                self.marks += 1;
            }
            if c.is_whitespace() && matches!(self.before, '.' | '!' | '?') {
                self.sentences += 1;
                if self.choices.is_empty() {
                    self.since_stop = 0;
                }
            }
        }
        if self.choices.is_empty() {
            self.since_stop += 1;
            if !c.is_whitespace() {
                self.last_mark = c;
            }
        }
        self.before = c;
    }

    fn end_number(&mut self) {
        let (hash, digits, decimal) = std::mem::replace(&mut self.number, (signs::EMPTY_WORD, 0, false));
        if digits > 0 {
            self.numbers += 1;
            self.distinct_numbers += u32::from(self.numbers_seen.insert(mixed(hash, 512)));
            match self.choices.last_mut() {
                None => self.question_numbers += 1,
                Some(choice) => choice.digits = true,
            }
            self.longest_number = self.longest_number.max(digits);
            self.decimals += u32::from(decimal);
        }
    }

    fn end_word(&mut self) {
        let (hash, length, capitals, first) =
            std::mem::replace(&mut self.word, (signs::EMPTY_WORD, 0, 0, false));
        if length == 0 {
            return;
        }
        self.words += 1;
        self.word_letters += length;
        self.long_words += u32::from(length >= LONG_WORD);
        self.short_words += u32::from(length <= SHORT_WORD);
        self.longest_word = self.longest_word.max(length);
        self.acronyms += u32::from(length > 1 && capitals == length);
        self.names += u32::from(first);
        self.single += u32::from(length == 1);
        GROUP_OF.of(hash).for_each(|group| self.groups[group] += 1);
        let bucket = mixed(hash, VOCABULARY);
        if self.seen.insert(bucket) {
            self.distinct += 1;
            self.vocabulary.push(bucket as u16);
        }
        match self.choices.last_mut() {
            None => {
                if self.question_words == 0 {
                    self.beginning = BEGINNING_OF.of(hash).next();
                } else {
                    self.asked_names += u32::from(first);
                }
                self.question_words += 1;
                self.asked.insert(bucket);
            }
            Some(choice) => {
                choice.count += 1;
                choice.echoed += u32::from(self.asked.has(bucket));
                choice.words |= 1 << (bucket % 128);
            }
        }
    }

    fn values(&self, text: &str, bytes: usize) -> [f32; MEASURES] {
        let log = |count: u32| (count as f32).ln_1p();
        let of = |marks: &[u8]| marks.iter().map(|mark| self.letters_seen[usize::from(*mark)]).sum::<u32>();
        let share = |count: u32, whole: u32| count as f32 / whole.max(1) as f32;
        let yes = |shown: bool| f32::from(u8::from(shown));
        let characters = self.characters;
        let words = self.words;
        let curled = |marks: [char; 2]| if self.foreign > 0 { text.matches(marks).count() as u32 } else { 0 };
        let ([options, option_values @ ..], more_option_values) = self.options();
        let mut values = [0.0; MEASURES];
        let measured = [
            (bytes as f32).ln_1p(),
            log(words),
            share(self.word_letters, words),
            share(self.long_words, words),
            share(self.short_words, words),
            self.longest_word.min(30) as f32,
            log(self.numbers),
            share(self.numbers, words + self.numbers),
            self.longest_number.min(12) as f32,
            log(self.decimals),
            log(of(b"%")),
            log(of(b"$")),
            share(self.digits, characters),
            share(self.capitals, characters),
            share(self.marks, characters),
            log(self.lines),
            share(self.lines, characters),
            log(of(b"=")),
            log(of(b"+*/^<>|")),
            log(of(b"-")),
            log(of(b"\\")),
            log(of(b",")),
            share(of(b","), words),
            log(of(b";")),
            log(of(b"(")),
            log(of(b"\"") + curled(['“', '”'])),
            log(of(b"'") + curled(['’', '‘'])),
            log(of(b"?")),
            yes(self.last_mark == '?'),
            yes(self.last_mark == ':'),
            yes(self.last_mark == '.'),
            yes(self.last_mark.is_alphabetic()),
            yes(of(b"_") > 1),
            (self.question_bytes as f32).ln_1p(),
            log(self.question_words),
            log(self.sentences + 1),
            share(words, self.sentences + 1),
            log(self.since_stop),
            options,
        ];
        values[..measured.len()].copy_from_slice(&measured);
        let mut at = measured.len();
        let mut put = |value: f32| {
            values[at] = value;
            at += 1;
        };
        option_values.into_iter().for_each(&mut put);
        put(share(self.distinct, words));
        put(log(self.foreign));
        put(share(self.acronyms, words));
        put(share(self.names, words));
        put(share(self.single, words));
        self.groups.iter().for_each(|count| put(share(*count, words)));
        put(yes(["NOT", "EXCEPT", "LEAST"].iter().any(|word| text.contains(word))));
        put(self.entropy());
        put(log(self.distinct_numbers));
        put(log(self.question_numbers));
        put(log(self.numbers - self.question_numbers));
        put(log(self.asked_names));
        put(share(self.asked_names, self.question_words + 1));
        more_option_values.into_iter().for_each(&mut put);
        (0..BEGINNINGS.len()).for_each(|beginning| put(yes(self.beginning == Some(beginning))));
        values
    }

    /// The number of options, then what they are like, in two parts of [`NAMES`].
    fn options(&self) -> ([f32; 12], [f32; 5]) {
        let count = self.choices.len();
        if count == 0 {
            return ([0.0; 12], [0.0; 5]);
        }
        let mean = |of: &dyn Fn(&Choice) -> f32| self.choices.iter().map(of).sum::<f32>() / count as f32;
        let yes = |shown: bool| f32::from(u8::from(shown));
        let bytes = mean(&|choice| choice.bytes as f32);
        let variance = mean(&|choice| (choice.bytes as f32 - bytes).powi(2));
        let lengths = self.choices.iter().map(|choice| choice.bytes as f32);
        let pairs = (1..count).flat_map(|second| (0..second).map(move |first| (first, second)));
        let overlap: f32 = pairs
            .map(|(first, second)| {
                let (first, second) = (self.choices[first].words, self.choices[second].words);
                (first & second).count_ones() as f32 / (first | second).count_ones().max(1) as f32
            })
            .sum();
        let first = [
            count as f32,
            bytes.ln_1p(),
            lengths.clone().fold(0.0, f32::max).ln_1p(),
            lengths.fold(f32::INFINITY, f32::min).ln_1p(),
            variance.sqrt() / (1.0 + bytes),
            bytes * count as f32 / self.characters.max(1) as f32,
            mean(&|choice| yes(choice.numeric)),
            mean(&|choice| yes(choice.capital)),
            mean(&|choice| yes(choice.stopped)),
            mean(&|choice| yes(choice.comma)),
            overlap / (count * (count - 1) / 2).max(1) as f32,
            mean(&|choice| choice.echoed as f32 / choice.count.max(1) as f32),
        ];
        let numeric = self.choices.iter().filter(|choice| choice.numeric).count();
        let second = [
            mean(&|choice| choice.count as f32).ln_1p(),
            variance.sqrt().ln_1p(),
            yes(self.choices.iter().all(|choice| choice.count <= 1)),
            mean(&|choice| yes(choice.digits)),
            yes(numeric >= 3),
        ];
        (first, second)
    }

    /// How evenly the letters are used, in nats.
    fn entropy(&self) -> f32 {
        let whole = self.characters.max(1) as f32;
        let shares = self.letters_seen.iter().filter(|count| **count > 0).map(|count| *count as f32 / whole);
        -shares.map(|share| share * share.ln()).sum::<f32>()
    }
}

/// One of so many places, a power of two, that is as good as random.
fn mixed(hash: u64, places: usize) -> usize {
    ((hash ^ hash >> 29).wrapping_mul(0xff51_afd7_ed55_8ccd) >> (64 - places.trailing_zeros())) as usize
}

/// The text of an option, if the line is the next one: `A. …`, `(B) …`, `c) …`.
fn option(line: &str, before: usize) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix('(').unwrap_or(line);
    let letter = *line.as_bytes().first()?;
    let next = before < MAX_OPTIONS && letter.to_ascii_uppercase() == b'A' + before as u8;
    let marked = matches!(line.as_bytes().get(1), Some(b'.' | b')'));
    (next && marked).then(|| line[2..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(text: &str, name: &str) -> f32 {
        let place = NAMES.iter().position(|(known, ..)| *known == name).expect("a measure");
        Measures::of(text, text.len()).values[place]
    }

    #[test]
    fn groups_of_words_and_their_names_stand_at_the_same_place() {
        let place = |name| NAMES.iter().position(|(known, ..)| *known == name);
        assert_eq!(place("emphatic_negation"), place("negation").map(|first| first + GROUPS));
        assert!(measure("This is not it, and never was.", "negation") > 0.2);
        assert_eq!(measure("The plaintiff sued.", "law"), 1.0 / 3.0);
        assert!(measure("Which is NOT a prime?", "emphatic_negation") > 0.0);
    }

    #[test]
    fn options_are_measured_apart_from_the_question() {
        let text = "Which is it?\nA. one thing\nB. another thing\nC. 3";
        assert_eq!(measure(text, "options"), 3.0);
        assert_eq!(measure(text, "ends_asking"), 1.0);
        assert_eq!(measure(text, "numeric_options"), 1.0 / 3.0);
        assert_eq!(measure(text, "question_words"), 3.0_f32.ln_1p());
        assert!(measure(text, "option_overlap") > 0.1);
        assert_eq!(measure("I. one\nII. two", "options"), 0.0);
    }

    #[test]
    fn numbers_are_told_from_the_marks_around_them() {
        let text = "Pay 1,200.50 now, 3 later.";
        assert_eq!(measure(text, "numbers"), 2.0_f32.ln_1p());
        assert_eq!(measure(text, "longest_number"), 6.0);
        assert_eq!(measure(text, "decimals"), 1.0_f32.ln_1p());
    }

    #[test]
    fn the_numbers_the_names_and_the_beginning_of_a_question_are_its_own() {
        let text = "When did Ada Byron write 7 notes, 7 or 8?\nA. In 1843\nB. In Paris\nC. 12";
        assert_eq!(measure(text, "question_numbers"), 3.0_f32.ln_1p());
        assert_eq!(measure(text, "option_numbers"), 2.0_f32.ln_1p());
        assert_eq!(measure(text, "distinct_numbers"), 4.0_f32.ln_1p());
        assert_eq!(measure(text, "asked_names"), 2.0_f32.ln_1p());
        assert_eq!((measure(text, "begins_when"), measure(text, "begins_which")), (1.0, 0.0));
        assert_eq!(measure(text, "digit_options"), 2.0 / 3.0);
        assert_eq!(measure("Pay a third of it, and then half.", "fractions"), 2.0 / 8.0);
    }

    #[test]
    fn a_run_of_letters_counts_as_its_letters_do() {
        for text in ["Two WORDS, $x and $5", "naïve Ünder_score", "A 3rd of it", "It is NOT so. (Why?)"] {
            let mut one_by_one = Tally::new();
            text.chars().for_each(|c| one_by_one.character(c));
            one_by_one.end_word();
            one_by_one.end_number();
            one_by_one.question_bytes = text.len() + 1;
            let values = one_by_one.values(text, text.len());
            assert_eq!(Measures::of(text, text.len()).values, values, "{text}");
        }
    }

    #[test]
    fn no_text_measures_anything_but_numbers() {
        for text in ["", "\n\n", "A.", "(", "🙂語", "A.é", "A. -\u{300}"] {
            assert!(Measures::of(text, text.len()).values.iter().all(|value| value.is_finite()), "{text:?}");
        }
    }
}
