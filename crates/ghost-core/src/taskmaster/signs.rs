//! The signs that TaskMaster can name: what a prompt asks for, what it carries, how it is built.
//!
//! A sign is a feature with words, so that a verdict can say why. [`features`](super::features) finds them; the
//! weights of [`model`](super::model) say what each is worth. The order is part of the trained model: a new sign goes
//! to the end, and the model is trained again.

use std::sync::LazyLock;

/// Something about a prompt that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Sign {
    /// At most 60 bytes.
    VeryShort,
    /// More than 1,500 bytes.
    VeryLong,
    /// A JSON document.
    Json,
    /// A JSON document within a JSON document.
    NestedJson,
    /// Header lines of an e-mail.
    EmailHeaders,
    /// An e-mail address.
    EmailAddress,
    /// A web address.
    Link,
    /// Two or more lines of the form `key: value`.
    KeyLines,
    /// Two or more items joined as in `key=value`.
    Assignments,
    /// Names the categories to pick from.
    Categories,
    /// Two or more bullet points.
    Bullets,
    /// Two or more numbered lines.
    NumberedLines,
    /// Lettered options to choose from.
    Options,
    /// Rows with `|` or tabs between the cells.
    Table,
    /// A code fence.
    CodeFence,
    /// Lines that look like program code.
    CodeLines,
    /// Formulas.
    Formula,
    /// Ten numbers or more.
    ManyNumbers,
    /// More than a third digits.
    MostlyDigits,
    /// One question mark.
    Question,
    /// Two or more.
    SeveralQuestions,
    /// Starts with what, who, when, where or which.
    StartsWithQuestionWord,
    /// A part in quotation marks.
    Quoted,
    /// Several letters of a script other than Latin.
    OtherScript,
    /// Letters with accents.
    Accents,
    /// Capital letters throughout.
    Shouting,
    /// Description and prompt, both given.
    InstructionAndMaterial,
    /// Verbs and words from here on, found by the lexicon.
    AsksForCode,
    /// Programming as a topic.
    SpeaksOfCode,
    /// To explain or teach.
    AsksToExplain,
    /// Why, reasons, trade-offs.
    AsksWhy,
    /// To prove or derive.
    AsksToProve,
    /// To compare or contrast.
    AsksToCompare,
    /// To design or plan.
    AsksToDesign,
    /// To analyse or judge.
    AsksToAnalyse,
    /// To write freely.
    AsksToWrite,
    /// A long piece of writing.
    AsksForAnEssay,
    /// To translate.
    AsksToTranslate,
    /// To shorten.
    AsksToSummarise,
    /// To rephrase or correct.
    AsksToRewrite,
    /// To calculate or count.
    AsksToCalculate,
    /// To find a mistake.
    AsksToDebug,
    /// To list some things.
    AsksForAList,
    /// To pull a part out of a text.
    AsksToExtract,
    /// To turn one form into another.
    AsksToConvert,
    /// To put into a category.
    AsksToClassify,
    /// To answer with JSON.
    AsksForJson,
    /// A field or key.
    NamesAField,
    /// A mail.
    NamesAnEmail,
    /// A status.
    NamesAStatus,
    /// Advice.
    AsksForAdvice,
    /// In steps.
    StepByStep,
    /// If, unless, suppose.
    Conditions,
    /// Must, exactly, at least.
    Requirements,
    /// No, not, except.
    Negations,
    /// Law, medicine, money.
    ExpertDomain,
    /// Systems, scale, security.
    SystemsDomain,
    /// Mathematics.
    Mathematics,
    /// Capital, president, colour: a fact of one word.
    PlainFact,
    /// Only, just, nothing else: a short answer.
    AsksForABareAnswer,
    /// Rates, shares, prices in words: a word problem.
    WordProblem,
    /// Thanks and greetings.
    SmallTalk,
    /// One key of the JSON document that it carries.
    NamesAKey,
    /// Several of them.
    NamesSeveralKeys,
    /// To change the material.
    AsksToChange,
    /// How long, how big, how many.
    AsksForAMeasure,
    /// Another format than JSON or text.
    AsksForAnotherForm,
    /// All, both, each.
    AsksForSeveral,
    /// Parts of a mail other than sender and subject.
    NamesMailParts,
    /// To answer or forward.
    AsksToReply,
    /// To mark, tag, record.
    AsksToMark,
    /// Done, pending, open.
    NamesAState,
    /// Opens with is, does, has.
    AsksYesOrNo,
    /// How.
    AsksHow,
    /// Greater, longer, equal.
    ComparesValues,
    /// What, which, who: what stands there.
    AsksToLookUp,
}

impl Sign {
    /// How many there are.
    pub const COUNT: usize = WORDS.len();

    /// All of them.
    pub fn all() -> impl Iterator<Item = Sign> {
        WORDS.iter().map(|(sign, _)| *sign)
    }

    /// What it is, as the end of "because it …".
    pub fn words(self) -> &'static str {
        WORDS[self as usize].1
    }
}

/// What each sign is called, in the order of the signs.
const WORDS: [(Sign, &str); 76] = [
    (Sign::VeryShort, "is very short"),
    (Sign::VeryLong, "is very long"),
    (Sign::Json, "carries a JSON document"),
    (Sign::NestedJson, "carries a nested JSON document"),
    (Sign::EmailHeaders, "carries the headers of an e-mail"),
    (Sign::EmailAddress, "carries an e-mail address"),
    (Sign::Link, "carries a link"),
    (Sign::KeyLines, "carries lines of keys and values"),
    (Sign::Assignments, "carries assignments"),
    (Sign::Categories, "names the categories to pick from"),
    (Sign::Bullets, "carries a list of points"),
    (Sign::NumberedLines, "carries numbered points"),
    (Sign::Options, "is a multiple-choice question"),
    (Sign::Table, "carries a table"),
    (Sign::CodeFence, "carries a block of code"),
    (Sign::CodeLines, "carries program code"),
    (Sign::Formula, "carries formulas"),
    (Sign::ManyNumbers, "has many numbers"),
    (Sign::MostlyDigits, "is mostly digits"),
    (Sign::Question, "is a question"),
    (Sign::SeveralQuestions, "asks several questions"),
    (Sign::StartsWithQuestionWord, "opens with a plain question word"),
    (Sign::Quoted, "quotes something"),
    (Sign::OtherScript, "is written in another script"),
    (Sign::Accents, "has letters with accents"),
    (Sign::Shouting, "is written in capitals"),
    (Sign::InstructionAndMaterial, "has an instruction and material"),
    (Sign::AsksForCode, "asks for code"),
    (Sign::SpeaksOfCode, "is about programming"),
    (Sign::AsksToExplain, "asks for an explanation"),
    (Sign::AsksWhy, "asks for reasons"),
    (Sign::AsksToProve, "asks for a proof"),
    (Sign::AsksToCompare, "asks for a comparison"),
    (Sign::AsksToDesign, "asks for a design or a plan"),
    (Sign::AsksToAnalyse, "asks for an analysis"),
    (Sign::AsksToWrite, "asks for a text"),
    (Sign::AsksForAnEssay, "asks for a longer piece of writing"),
    (Sign::AsksToTranslate, "asks for a translation"),
    (Sign::AsksToSummarise, "asks for a summary"),
    (Sign::AsksToRewrite, "asks to rewrite a text"),
    (Sign::AsksToCalculate, "asks for a calculation"),
    (Sign::AsksToDebug, "asks to find a mistake"),
    (Sign::AsksForAList, "asks for a list"),
    (Sign::AsksToExtract, "asks for a part of the text"),
    (Sign::AsksToConvert, "asks for a conversion"),
    (Sign::AsksToClassify, "asks to sort into a category"),
    (Sign::AsksForJson, "asks for JSON"),
    (Sign::NamesAField, "names a field"),
    (Sign::NamesAnEmail, "is about an e-mail"),
    (Sign::NamesAStatus, "is about a status"),
    (Sign::AsksForAdvice, "asks for advice"),
    (Sign::StepByStep, "asks for steps"),
    (Sign::Conditions, "sets conditions"),
    (Sign::Requirements, "sets requirements"),
    (Sign::Negations, "excludes something"),
    (Sign::ExpertDomain, "touches law, medicine or finance"),
    (Sign::SystemsDomain, "is about systems or security"),
    (Sign::Mathematics, "is mathematical"),
    (Sign::PlainFact, "asks for a plain fact"),
    (Sign::AsksForABareAnswer, "asks for a bare answer"),
    (Sign::WordProblem, "reads like a word problem"),
    (Sign::SmallTalk, "is small talk"),
    (Sign::NamesAKey, "names a key of the document"),
    (Sign::NamesSeveralKeys, "names several keys of the document"),
    (Sign::AsksToChange, "asks to change the material"),
    (Sign::AsksForAMeasure, "asks how much or how many"),
    (Sign::AsksForAnotherForm, "asks for another format"),
    (Sign::AsksForSeveral, "asks for several things"),
    (Sign::NamesMailParts, "names other parts of an e-mail"),
    (Sign::AsksToReply, "asks for a reply"),
    (Sign::AsksToMark, "asks to record a state"),
    (Sign::NamesAState, "names a state"),
    (Sign::AsksYesOrNo, "is a yes-or-no question"),
    (Sign::AsksHow, "asks how"),
    (Sign::ComparesValues, "compares values"),
    (Sign::AsksToLookUp, "asks what stands there"),
];

/// The words that show a sign, in lower case.
const LEXICON: &[(Sign, &str)] = &[
    (Sign::AsksForCode, "implement code program script refactor snippet regex compile unittest"),
    (
        Sign::SpeaksOfCode,
        "function class python rust javascript typescript java sql query api algorithm variable loop recursion \
         react docker kubernetes git bash html css database async thread struct exception stacktrace",
    ),
    (Sign::AsksToExplain, "explain describe elaborate teach clarify illustrate discuss walk interpret"),
    (
        Sign::AsksWhy,
        "why justify reason reasons rationale tradeoff tradeoffs argue cause causes implications",
    ),
    (Sign::AsksToProve, "prove proof derive derivation theorem lemma induction corollary disprove"),
    (Sign::AsksToCompare, "compare contrast versus vs difference differences pros cons weigh advantages"),
    (
        Sign::AsksToDesign,
        "design architect architecture plan strategy roadmap propose blueprint schema migrate migration develop \
         build create optimize optimise",
    ),
    (
        Sign::AsksToAnalyse,
        "analyze analyse analysis evaluate assess critique critically review examine investigate diagnose \
         synthesize estimate forecast",
    ),
    (
        Sign::AsksToWrite,
        "write compose draft story poem letter speech lyrics haiku limerick dialogue tagline",
    ),
    (
        Sign::AsksForAnEssay,
        "essay article report chapter thesis whitepaper detailed comprehensive thorough depth",
    ),
    (
        Sign::AsksToTranslate,
        "translate translation spanish french german italian japanese portuguese chinese",
    ),
    (Sign::AsksToSummarise, "summarize summarise summary condense tldr gist shorten outline recap"),
    (
        Sign::AsksToRewrite,
        "rewrite rephrase paraphrase correct proofread fix improve edit polish simplify formal",
    ),
    (
        Sign::AsksToCalculate,
        "calculate compute sum total average mean percent percentage multiply divide subtract add count solve \
         median probability",
    ),
    (Sign::AsksToDebug, "bug debug error wrong fails failing crash crashes broken traceback deadlock race"),
    (Sign::AsksForAList, "list enumerate ideas suggestions examples brainstorm name"),
    (Sign::AsksToExtract, "extract pull find get fetch retrieve read return grab pick locate identify"),
    (Sign::AsksToConvert, "convert transform turn format parse reformat normalize change"),
    (
        Sign::AsksToClassify,
        "classify classification category categories categorize label labels sentiment tag belongs sort bucket",
    ),
    (Sign::AsksForJson, "json object keys dictionary"),
    (Sign::NamesAField, "field key property attribute value entry column"),
    (Sign::NamesAnEmail, "email mail sender subject inbox mailbox message"),
    (Sign::NamesAStatus, "status update progress state stage condition"),
    (Sign::AsksForAdvice, "should recommend advice advise suggest best better help ideal worth"),
    (Sign::StepByStep, "step steps guide tutorial walkthrough instructions recipe procedure"),
    (Sign::Conditions, "if unless suppose assume assuming given whenever otherwise provided until"),
    (
        Sign::Requirements,
        "must exactly ensure require requires required constraint constraints limit within never",
    ),
    (Sign::Negations, "not no without except avoid none cannot neither excluding false incorrect"),
    (
        Sign::ExpertDomain,
        "legal law contract liability statute plaintiff defendant court patient diagnosis treatment disease \
         symptoms tax investment portfolio clinical clause regulation gdpr",
    ),
    (
        Sign::SystemsDomain,
        "distributed scalable scale latency throughput security encryption consistency concurrency microservices \
         cache multitenant fault tolerant cluster consensus replication",
    ),
    (
        Sign::Mathematics,
        "equation polynomial integer integers matrix integral derivative triangle vector prime modulo function \
         angle circle radius degree real positive roots graph group homomorphism",
    ),
    (
        Sign::PlainFact,
        "capital president color colour spell antonym synonym opposite plural currency population",
    ),
    (Sign::AsksForABareAnswer, "only just nothing bare verbatim single one"),
    (
        Sign::WordProblem,
        "each per twice half many much altogether remaining left cost costs sold bought hours dozen times every",
    ),
    (
        Sign::AsksToChange,
        "double triple halve square round truncate negate increment decrement increase decrease uppercase \
         lowercase capitalize capitalise reverse sort order alphabetize shuffle deduplicate merge split \
         filter group join concatenate combine append prepend insert add remove delete drop rename \
         replace change update swap mask censor anonymize anonymise redact hide encrypt decrypt encode \
         decode hash compress escape unescape validate verify check lint minify prettify beautify format \
         reformat indent flatten invert extend expand lengthen continue complete translate transliterate \
         correct repair clean normalise normalize trim pad strip duplicate copy move multiply divide \
         subtract substitute modify edit adjust convert rewrite rephrase paraphrase shorten simplify \
         improve repeat rotate",
    ),
    (
        Sign::AsksForAMeasure,
        "long big large size length width characters letters vowels consonants syllables digits words \
         lines sentences times count counts tally number amount often occurrences total sum average mean \
         median maximum minimum max min largest smallest longest shortest highest lowest biggest oldest \
         newest first last second third",
    ),
    (
        Sign::AsksForAnotherForm,
        "yaml xml csv toml html markdown table array tuple schema interface typescript class struct sql \
         insert dict dataframe graph chart diagram poem haiku sentence sentences prose letter story \
         headline list ini binary hexadecimal roman hex base64 english german french spanish italian \
         japanese chinese polish portuguese words",
    ),
    (
        Sign::AsksForSeveral,
        "all every each both entire whole keys values fields entries pairs names numbers properties \
         columns rows items except besides also",
    ),
    (
        Sign::NamesMailParts,
        "body recipient recipients date attachment attachments cc bcc signature tone links addresses \
         headers footer greeting receiver received domain thread",
    ),
    (
        Sign::AsksToReply,
        "reply respond response answer forward decline refuse refusal accept apologize apologise \
         unsubscribe",
    ),
    (Sign::AsksToMark, "mark tag flag record log register note set report announce confirm"),
    (
        Sign::NamesAState,
        "done pending open closed started stopped finished completed complete cancelled canceled reserved \
         active inactive blocked paused resolved approved rejected ready delayed shipped delivered \
         running failed online offline available unavailable sold booked overdue archived",
    ),
    (
        Sign::AsksYesOrNo,
        "valid true false present missing empty null correct complete plausible possible likely important",
    ),
    (Sign::AsksHow, "how"),
    (
        Sign::ComparesValues,
        "greater less fewer equal equals same longer shorter larger smaller bigger older newer higher \
         lower before after between compare differ different match matches plus minus times modulo",
    ),
    (
        Sign::AsksToLookUp,
        "what which who whose where when tell show give output print specified stored given named \
         mentioned stated contained holds hold says say found lookup look determine value specify \
         indicate report returns bring provide",
    ),
    (Sign::SmallTalk, "hello hi hey thanks thank bye morning evening congratulations"),
];

static TABLE: LazyLock<Lexicon<Sign>> = LazyLock::new(|| Lexicon::new(LEXICON));

/// An open-addressed table from a word's hash to what it shows: a lookup takes a few nanoseconds, where comparing with
/// every word would take the whole budget.
pub(super) struct Lexicon<T> {
    /// As many as a power of two, so that a mask finds the slot.
    slots: Vec<(u64, Option<T>)>,
}

impl<T: Copy> Lexicon<T> {
    /// From what is shown, each with the words that show it.
    pub(super) fn new(entries: &[(T, &str)]) -> Self {
        let words = entries.iter().map(|(_, words)| words.split_whitespace().count()).sum::<usize>();
        let mut slots = vec![(0, None); (4 * words).next_power_of_two()];
        let mask = slots.len() - 1;
        for (shown, words) in entries {
            for word in words.split_whitespace() {
                let hash = word.chars().fold(EMPTY_WORD, extend);
                let mut slot = hash as usize & mask;
                while slots[slot].1.is_some() {
                    slot = (slot + 1) & mask;
                }
                slots[slot] = (hash, Some(*shown));
            }
        }
        Self { slots }
    }

    /// What a word shows.
    pub(super) fn of(&self, hash: u64) -> impl Iterator<Item = T> {
        let mask = self.slots.len() - 1;
        let start = hash as usize & mask;
        (start..)
            .map(move |slot| self.slots[slot & mask])
            .map_while(|(known, shown)| shown.map(|shown| (known, shown)))
            .filter(move |(known, _)| *known == hash)
            .map(|(_, shown)| shown)
    }
}

/// The hash of a word without letters.
pub(super) const EMPTY_WORD: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of a word with one more letter (FNV-1a over code points).
pub(super) fn extend(hash: u64, letter: char) -> u64 {
    (hash ^ u64::from(u32::from(letter))).wrapping_mul(0x0100_0000_01b3)
}

/// The signs that a word shows.
pub(super) fn of_word(hash: u64) -> impl Iterator<Item = Sign> {
    TABLE.of(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_shows_every_sign_that_lists_it() {
        let hash = "function".chars().fold(EMPTY_WORD, extend);
        assert_eq!(of_word(hash).collect::<Vec<_>>(), [Sign::SpeaksOfCode, Sign::Mathematics]);
        assert_eq!(of_word("zebra".chars().fold(EMPTY_WORD, extend)).count(), 0);
    }

    #[test]
    fn every_sign_finds_its_own_words() {
        assert!(Sign::all().enumerate().all(|(place, sign)| sign as usize == place));
        let different: std::collections::HashSet<_> = Sign::all().map(Sign::words).collect();
        assert_eq!(different.len(), Sign::COUNT);
    }
}
