//! Sees what a prompt is made of: named [`Sign`]s, and hashed words and letters.
//!
//! Looks at no more than the first and the last bytes of a prompt ([`READ`], [`MEASURED`]), so that any input takes bounded
//! time; any Unicode is welcome. Words inside a document that the prompt carries (JSON, quotes) are kept apart from the words
//! that instruct. What a feature is worth, [`model`](super::model) knows.

use super::measures::Measures;
use super::signs::{self, Sign};
use crate::task::TaskRequest;

/// How much of a long prompt's beginning and end is read: enough for the longest simple task.
pub const READ: (usize, usize) = (768, 256);
/// How much of them is [measured](Measures).
pub const MEASURED: (usize, usize) = (1024, 512);
/// How many buckets words and letters are hashed into.
pub const BUCKETS: usize = 1 << 15;
/// The most hashed features that a prompt can have: six for a byte, and what edges and pairs of signs add.
pub const MAX_HASHED: usize = 6 * (READ.0 + READ.1 + 2) + 4 * EDGE + MAX_PAIRED * MAX_PAIRED;

/// How many sizes are measured.
pub const SIZES: usize = 10;

/// How many instructing words at either end are also hashed with their place.
const EDGE: usize = 8;
/// How many signs are paired with each other.
const MAX_PAIRED: usize = 20;
/// From here on letters say little that words did not say.
const MAX_LETTERS: usize = 640;
const LONGEST_WORD: u32 = 24;
const MAX_CATEGORIES: usize = 32;

/// What a prompt is made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    /// The named signs, each once.
    pub signs: Vec<Sign>,
    /// The sort of document that it carries.
    pub document: Document,
    /// How much there is of everything: bytes, words, sentences, numbers…, mostly as logarithms around zero.
    pub sizes: [f32; SIZES],
    /// Buckets of words, pairs of words, and words in their place.
    pub words: Vec<u16>,
    /// Buckets of four letters in a row.
    pub letters: Vec<u16>,
    /// Buckets of signs that appear together, by sort of document: "asks to change" means little, "asks to change,
    /// names a key, in JSON" means a lot.
    pub pairs: Vec<u16>,
    /// How it is built, and its words as a set.
    pub measures: Measures,
}

impl Features {
    /// The features of what a model would be asked.
    pub fn of(request: &TaskRequest) -> Self {
        let parameters = &request.parameters;
        let instructed = !request.description.trim_start().is_empty();
        let mut parts: Vec<&str> = Vec::with_capacity(8 + 2 * MAX_CATEGORIES);
        match &parameters.prompt {
            Some(prompt) if instructed => parts.extend([&*request.description, "\n\n", prompt]),
            Some(prompt) => parts.push(prompt),
            None => parts.push(&request.description),
        }
        if let Some(categories) = &parameters.categories {
            parts.push("\n\nCategories: ");
            for (i, category) in categories.iter().take(MAX_CATEGORIES).enumerate() {
                parts.extend([if i == 0 { "" } else { ", " }, category]);
            }
        }
        let mut reader = Reader::default();
        if parameters.prompt.is_some() && instructed {
            reader.sign(Sign::InstructionAndMaterial);
        }
        if parameters.categories.is_some() {
            reader.sign(Sign::Categories);
        }
        let bytes = parts.iter().map(|part| part.len()).sum();
        let mut features = reader.read(&excerpt(&parts, READ), bytes);
        features.measures = Measures::of(&excerpt(&parts, MEASURED), bytes);
        features
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.signs.len() + SIZES + self.words.len() + self.letters.len() + self.pairs.len()
    }
}

/// The beginning and the end of what the parts say together.
fn excerpt(parts: &[&str], (head, tail): (usize, usize)) -> String {
    let mut text = String::with_capacity(head + tail + 2);
    let whole = parts.iter().map(|part| part.len()).sum::<usize>() <= head + tail;
    let mut room = if whole { usize::MAX } else { head };
    for part in parts {
        let mut end = part.len().min(room);
        while !part.is_char_boundary(end) {
            end -= 1;
        }
        text.push_str(&part[..end]);
        room -= end;
        if end < part.len() {
            break;
        }
    }
    if whole {
        return text;
    }
    let mut ends = Vec::new();
    let mut room = tail;
    for part in parts.iter().rev() {
        let mut start = part.len() - part.len().min(room);
        while !part.is_char_boundary(start) {
            start += 1;
        }
        ends.push(&part[start..]);
        room -= part.len() - start;
        if start > 0 {
            break;
        }
    }
    text.push_str("\n\n");
    ends.iter().rev().for_each(|part| text.push_str(part));
    text
}

/// Where a word stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zone {
    /// Among the words that speak to the model.
    Plain,
    /// Between quotation marks.
    Quoted,
    /// Between braces or brackets.
    Braced,
}

/// What sort of document the prompt carries. Instructing words are also hashed together with it, since "the subject"
/// of an e-mail is another matter than the subject of an essay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Document {
    /// Nothing but the request itself.
    #[default]
    None,
    /// Running text.
    Prose,
    /// A JSON document.
    Json,
    /// An e-mail.
    Email,
    /// Lines of keys and values.
    KeyLines,
    /// Categories to pick from.
    Categories,
    /// Program code.
    Code,
    /// Options to choose from.
    Options,
    /// Formulas.
    Formula,
    /// A question over numbers.
    Problem,
}

/// How many sorts of document there are.
pub const DOCUMENTS: usize = Document::Problem as usize + 1;

#[derive(Default)]
struct Reader {
    features: Features,
    seen: u128,
    words: Vec<(u64, Zone)>,
    word: Word,
    depth: u32,
    quoted: bool,
    names: Names,
    count: Counts,
}

/// Which keys of a JSON document the instruction names. `orderId`, `order_id` and "order id" are the same name, so
/// names are compared by their letters and digits alone.
struct Names {
    /// Whether there can be keys at all: a text without braces has none to compare with.
    wanted: bool,
    /// The names that end with the last word and have one word, two, three, four.
    latest: [u64; 4],
    /// The names outside of documents, as a set of hashes.
    asked: [u64; 64],
    /// The string in braces that is being read or was read last.
    string: u64,
    /// The strings in braces that a colon followed.
    keys: Vec<u64>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            wanted: false,
            latest: [signs::EMPTY_WORD; 4],
            asked: [0; 64],
            string: signs::EMPTY_WORD,
            keys: Vec::new(),
        }
    }
}

impl Names {
    fn extend(&mut self, letter: char, braced: bool) {
        if !self.wanted {
            return;
        }
        if braced {
            self.string = signs::extend(self.string, letter);
        } else {
            self.latest = self.latest.map(|name| signs::extend(name, letter));
        }
    }

    fn end_word(&mut self) {
        if !self.wanted {
            return;
        }
        for name in self.latest {
            let place = place(name);
            self.asked[place / 64] |= 1 << (place % 64);
        }
        let [one, two, three, _] = self.latest;
        self.latest = [signs::EMPTY_WORD, one, two, three];
    }

    fn named(&self) -> usize {
        let asked = |key: &&u64| self.asked[place(**key) / 64] & 1 << (place(**key) % 64) != 0;
        self.keys.iter().filter(asked).count()
    }
}

/// The place of a name among the 4,096 bits of the set.
fn place(name: u64) -> usize {
    (name.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize
}

/// The word being read, and the window of its last four letters.
struct Word {
    hash: u64,
    length: u32,
    digits: bool,
    window: u64,
}

impl Default for Word {
    fn default() -> Self {
        Self { hash: signs::EMPTY_WORD, length: 0, digits: false, window: u64::from(b' ') }
    }
}

#[derive(Default)]
struct Counts {
    letters: u32,
    capitals: u32,
    accents: u32,
    other_script: u32,
    digits: u32,
    others: u32,
    numbers: u32,
    text_words: u32,
    questions: u32,
    sentences: u32,
    deepest: u32,
    strings_in_braces: u32,
    quotes: u32,
    formula: u32,
    at_signs: u32,
    assignments: u32,
    headers: u32,
    key_lines: u32,
    bullets: u32,
    numbered: u32,
    options: u32,
    cells: u32,
    code_lines: u32,
    lines: u32,
    commas: u32,
    longest_number: u32,
}

impl Counts {
    fn sizes(&self, bytes: usize) -> [f32; SIZES] {
        let log = |count: u32| (count as f32).ln_1p();
        let characters = (self.letters + self.digits + self.others).max(1) as f32;
        let share = |count: u32| count as f32 / characters;
        [
            0.5 * ((bytes as f32).ln_1p() - 5.5),
            0.5 * (log(self.text_words) - 4.0),
            log(self.sentences) - 1.0,
            log(self.numbers) - 1.0,
            log(self.longest_number) - 0.7,
            0.5 * (self.letters as f32 / self.text_words.max(1) as f32 - 4.7),
            5.0 * share(self.others) - 0.3,
            log(self.lines) - 1.0,
            log(self.commas) - 1.0,
            log(self.formula) - 0.5,
        ]
    }
}

impl Reader {
    fn sign(&mut self, sign: Sign) {
        let bit = 1 << sign as u32;
        if self.seen & bit == 0 {
            self.seen |= bit;
            self.features.signs.push(sign);
        }
    }

    fn sign_if(&mut self, shown: bool, sign: Sign) {
        if shown {
            self.sign(sign);
        }
    }

    fn read(mut self, text: &str, bytes: usize) -> Features {
        self.names.wanted = text.contains('{') || text.contains('[');
        self.words.reserve(text.len() / 4);
        self.features.letters.reserve(text.len());
        for line in text.lines() {
            self.line(line);
        }
        let mut before = ' ';
        for c in text.chars() {
            self.char(c, before);
            before = c;
        }
        self.end_word();
        self.name_signs(text, bytes);
        self.features.sizes = self.count.sizes(bytes);
        self.features.document = self.document(bytes);
        self.hash_words();
        self.pair_signs();
        self.features
    }

    /// The shape of one line.
    fn line(&mut self, line: &str) {
        let count = &mut self.count;
        count.lines += 1;
        let trimmed = line.trim_start();
        let bytes = trimmed.as_bytes();
        let (Some(first), second) = (bytes.first(), bytes.get(1).copied().unwrap_or(b' ')) else { return };
        let marker = matches!(second, b'.' | b')');
        match first {
            b'-' | b'*' | b'+' if second == b' ' => count.bullets += 1,
            b'A'..=b'F' | b'a'..=b'f' if marker => count.options += 1,
            b'0'..=b'9' if marker || matches!(bytes.get(2), Some(b'.' | b')')) => count.numbered += 1,
            _ if trimmed.starts_with('•') => count.bullets += 1,
            _ => {}
        }
        if trimmed.starts_with("```") {
            self.sign(Sign::CodeFence);
            return;
        }
        let code =
            ["def ", "fn ", "class ", "import ", "return ", "#include", "for (", "if (", "public ", "const "];
        if matches!(trimmed.trim_end().as_bytes().last(), Some(b';'))
            || code.iter().any(|c| trimmed.starts_with(c))
        {
            count.code_lines += 1;
        }
        count.cells += u32::from(bytes.iter().filter(|b| matches!(b, b'|' | b'\t')).take(2).count() == 2);
        if let Some(colon) = bytes.iter().take(32).position(|b| *b == b':') {
            let key = &bytes[..colon];
            let rest = bytes[colon + 1..].iter().any(|b| !b.is_ascii_whitespace());
            let keyed =
                |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'_' | b'-' | b'.') || !b.is_ascii();
            if colon > 0 && rest && key.iter().all(keyed) {
                count.key_lines += 1;
                let headers =
                    ["from", "subject", "reply-to", "return-path", "von", "betreff", "de", "objet", "asunto"];
                count.headers += u32::from(headers.iter().any(|h| key.eq_ignore_ascii_case(h.as_bytes())));
            }
        }
    }

    fn char(&mut self, c: char, before: char) {
        if c.is_alphabetic() {
            let hump = c.is_uppercase() && before.is_lowercase();
            if self.word.length > 0 && (self.word.digits || hump) || self.word.length == LONGEST_WORD {
                self.end_word();
            }
            let count = &mut self.count;
            count.letters += 1;
            let lower = if c.is_ascii() {
                count.capitals += u32::from(c.is_ascii_uppercase());
                c.to_ascii_lowercase()
            } else {
                let latin = u32::from(c) < 0x250;
                count.accents += u32::from(latin);
                count.other_script += u32::from(!latin);
                c.to_lowercase().next().unwrap_or(c)
            };
            self.word.hash = signs::extend(self.word.hash, lower);
            self.letter(lower);
            return;
        }
        if c.is_numeric() {
            if self.word.length > 0 && !self.word.digits || self.word.length == LONGEST_WORD {
                self.end_word();
            }
            self.count.digits += 1;
            self.names.extend(c, self.depth > 0);
            self.word.digits = true;
            self.word.length += 1;
            return;
        }
        self.end_word();
        self.count.others += u32::from(!c.is_whitespace());
        match c {
            '{' | '[' => {
                self.depth += 1;
                self.count.deepest = self.count.deepest.max(self.depth);
            }
            '}' | ']' => self.depth = self.depth.saturating_sub(1),
            '"' | '“' | '”' | '„' | '`' => {
                self.quoted = !self.quoted;
                self.count.quotes += 1;
                self.count.strings_in_braces += u32::from(self.depth > 0);
                if self.quoted && self.depth > 0 {
                    self.names.string = signs::EMPTY_WORD;
                }
            }
            ':' if self.depth > 0 && before == '"' => self.names.keys.push(self.names.string),
            // A brace that never closes or a stray quotation mark must not swallow the rest.
            '\n' => {
                self.quoted = false;
                if before == '\n' {
                    self.depth = 0;
                }
            }
            ',' => self.count.commas += 1,
            '?' | '？' => {
                self.count.questions += 1;
                self.count.sentences += 1;
            }
            '!' | '。' => self.count.sentences += 1,
            ' ' if before == '.' => self.count.sentences += 1,
            '$' | '\\' | '^' | '√' | '∫' | '∑' | '≤' | '≥' => self.count.formula += 1,
            '@' if before.is_alphanumeric() => self.count.at_signs += 1,
            '=' if before.is_alphanumeric() => self.count.assignments += 1,
            _ => {}
        }
    }

    fn letter(&mut self, letter: char) {
        self.names.extend(letter, self.depth > 0);
        let word = &mut self.word;
        word.length += 1;
        // Sixteen bits a letter are enough for a hash.
        word.window = word.window << 16 | u64::from(u32::from(letter) & 0xffff);
        if word.length >= 3 && self.features.letters.len() < MAX_LETTERS && self.zone() == Zone::Plain {
            let window = self.word.window;
            self.features.letters.push(bucket(window, 0));
        }
    }

    fn zone(&self) -> Zone {
        match (self.depth, self.quoted) {
            (0, false) => Zone::Plain,
            (0, true) => Zone::Quoted,
            _ => Zone::Braced,
        }
    }

    fn end_word(&mut self) {
        if self.word.length == 0 {
            return;
        }
        let zone = self.zone();
        let word = std::mem::take(&mut self.word);
        if zone != Zone::Braced {
            self.names.end_word();
        }
        if word.digits {
            self.count.numbers += 1;
            self.count.longest_number = self.count.longest_number.max(word.length);
            self.words.push((u64::from(word.length.min(5)), zone));
            return;
        }
        self.count.text_words += 1;
        if zone == Zone::Plain {
            self.features.letters.push(bucket(word.window << 16 | u64::from(b' '), 0));
            signs::of_word(word.hash).for_each(|sign| self.sign(sign));
        }
        self.words.push((word.hash, zone));
    }

    fn name_signs(&mut self, text: &str, bytes: usize) {
        let Counts { letters, digits, others, numbers, .. } = self.count;
        self.sign_if(bytes <= 60, Sign::VeryShort);
        self.sign_if(bytes > 1500, Sign::VeryLong);
        self.sign_if(numbers >= 10, Sign::ManyNumbers);
        match self.names.named() {
            0 => {}
            1 => self.sign(Sign::NamesAKey),
            _ => self.sign(Sign::NamesSeveralKeys),
        }
        match self.count.questions {
            0 => {}
            1 => self.sign(Sign::Question),
            _ => self.sign(Sign::SeveralQuestions),
        }
        let count = &self.count;
        let found = [
            (count.deepest > 0 && count.strings_in_braces >= 2, Sign::Json),
            (count.deepest > 1 && count.strings_in_braces >= 4, Sign::NestedJson),
            (count.headers > 0, Sign::EmailHeaders),
            (count.at_signs > 0, Sign::EmailAddress),
            (text.contains("://") || text.contains("www."), Sign::Link),
            (count.key_lines >= 2, Sign::KeyLines),
            (count.assignments >= 2, Sign::Assignments),
            (count.bullets >= 2, Sign::Bullets),
            (count.numbered >= 2, Sign::NumberedLines),
            (count.options >= 3, Sign::Options),
            (count.cells >= 2, Sign::Table),
            (count.code_lines >= 2, Sign::CodeLines),
            (count.formula >= 2, Sign::Formula),
            (digits * 3 > letters + digits + others, Sign::MostlyDigits),
            (count.quotes >= 2 && count.quotes > count.strings_in_braces, Sign::Quoted),
            (count.other_script >= 3, Sign::OtherScript),
            (count.accents > 0, Sign::Accents),
            (letters >= 12 && count.capitals * 4 > letters * 3, Sign::Shouting),
        ];
        found.into_iter().for_each(|(shown, sign)| self.sign_if(shown, sign));
        let question = self.words.first().is_some_and(|(word, _)| question_words().contains(word));
        self.sign_if(question, Sign::StartsWithQuestionWord);
    }

    fn document(&self, bytes: usize) -> Document {
        let shows = |sign: Sign| self.seen & (1 << sign as u32) != 0;
        match () {
            _ if shows(Sign::Json) => Document::Json,
            _ if shows(Sign::Categories) => Document::Categories,
            _ if shows(Sign::EmailHeaders) => Document::Email,
            _ if shows(Sign::CodeFence) || shows(Sign::CodeLines) => Document::Code,
            _ if shows(Sign::Options) => Document::Options,
            _ if shows(Sign::Formula) => Document::Formula,
            _ if shows(Sign::WordProblem) && self.count.numbers > 1 && self.count.questions == 1 => {
                Document::Problem
            }
            _ if shows(Sign::KeyLines) || shows(Sign::Assignments) => Document::KeyLines,
            _ if bytes <= 160 => Document::None,
            _ => Document::Prose,
        }
    }

    fn pair_signs(&mut self) {
        let document = self.features.document as u64;
        let signs = &mut self.features.signs;
        signs.sort_unstable();
        for (place, first) in signs.iter().enumerate().take(MAX_PAIRED) {
            for second in &signs[place..signs.len().min(MAX_PAIRED)] {
                let pair = (*first as u64) << 8 | *second as u64;
                self.features.pairs.push(bucket(pair, 112 + document));
            }
        }
    }

    fn hash_words(&mut self) {
        let document = self.features.document as u64;
        let instructing = self.words.iter().filter(|(_, zone)| *zone == Zone::Plain).count();
        let hashed = &mut self.features.words;
        hashed.reserve(self.words.len() + 3 * instructing + 4 * EDGE);
        let mut before = 0;
        let mut place = 0;
        for &(word, zone) in &self.words {
            match zone {
                Zone::Plain => {
                    let pair = before ^ word.rotate_left(21);
                    hashed.push(bucket(word, 1));
                    hashed.push(bucket(word, 16 + document));
                    hashed.push(bucket(pair, 2));
                    hashed.push(bucket(pair, 32 + document));
                    if place < EDGE {
                        hashed.push(bucket(word, 48 + document));
                        hashed.push(bucket(pair, 64 + document));
                    } else if place + EDGE >= instructing {
                        hashed.push(bucket(word, 80 + document));
                        hashed.push(bucket(pair, 96 + document));
                    }
                    place += 1;
                    before = word;
                }
                Zone::Quoted => {
                    hashed.push(bucket(word, 5));
                    before = 1;
                }
                Zone::Braced => {
                    hashed.push(bucket(word, 6));
                    before = 2;
                }
            }
        }
    }
}

fn question_words() -> &'static [u64; 6] {
    static WORDS: std::sync::LazyLock<[u64; 6]> = std::sync::LazyLock::new(|| {
        ["what", "who", "when", "where", "which", "whats"]
            .map(|word| word.chars().fold(signs::EMPTY_WORD, signs::extend))
    });
    &WORDS
}

/// The bucket of a hash in its namespace.
fn bucket(hash: u64, namespace: u64) -> u16 {
    let mixed = (hash ^ namespace.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    ((mixed ^ mixed >> 32).wrapping_mul(0xc4ce_b9fe_1a85_ec53) >> (64 - BUCKETS.trailing_zeros())) as u16
}
