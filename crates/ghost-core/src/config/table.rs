//! The shape of the table of settings, and the macro that makes the typed configuration out of it.
//!
//! A row of `settings!` is the only place that knows a setting: its doc comment is its meaning in the documentation
//! too, and the field, the row for `ghost doctor` and the reading of its value all come from it.

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// The environment variable, and the name for `--set`.
    pub variable: &'static str,
    /// Its table in `ghost.toml`.
    pub group: &'static str,
    /// What that table is about.
    pub about: &'static str,
    /// Its name within that table.
    pub field: &'static str,
    /// A flag of its own, where it has one.
    pub flag: Option<&'static str>,
    /// What holds where nobody says otherwise.
    pub default: Default,
    /// What it means.
    pub meaning: &'static str,
    /// Whether its value must never be shown.
    pub secret: bool,
    /// Says what would be right where a text is not a value for it.
    pub check: fn(&str) -> Result<(), String>,
}

/// What holds where nobody sets anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// This value.
    Is(&'static str),
    /// No value; what that comes to, in words.
    Unset(&'static str),
}

impl Setting {
    /// Its place in `ghost.toml`, as in `llm.model`; none for the one that says which file that is.
    pub fn key(&self) -> Option<String> {
        (self.variable != super::CONFIG_FILE).then(|| format!("{}.{}", self.group, self.field))
    }
}

/// Declares every setting once: `field: Type = VARIABLE, parser, Is "default"` or `Unset "what then"`.
macro_rules! settings {
    ($(
        #[doc = $about:literal]
        $group:ident: $Group:ident {
            $(
                $(#[doc = $meaning:literal])+
                $field:ident: $type:ty = $variable:ident, $parse:ident, $how:ident $default:literal
                    $(, flag $flag:literal)?;
            )+
        }
    )+) => {
        /// Every setting, in the order of the documentation.
        pub static SETTINGS: &[Setting] = &[$($(
            Setting {
                variable: stringify!($variable),
                group: stringify!($group),
                about: $about.trim_ascii(),
                field: stringify!($field),
                flag: settings!(@flag $($flag)?),
                default: Default::$how($default),
                meaning: concat!($($meaning),+).trim_ascii(),
                secret: matches!(stringify!($parse).as_bytes(), b"secret" | b"redis_url"),
                check: |text| parse::$parse(text).map(drop),
            },
        )+)+];

        /// What the process was told, by topic.
        #[derive(Debug, Clone)]
        pub struct Config {
            $( #[doc = $about] pub $group: $Group, )+
            /// What looks wrong but stops nothing; to be said once, at the start.
            pub warnings: Vec<String>,
            rows: Vec<Row>,
        }

        $(
            #[doc = $about]
            #[derive(Debug, Clone)]
            pub struct $Group {
                $( $(#[doc = $meaning])+ pub $field: $type, )+
            }
        )+

        impl Config {
            fn assemble(values: Values) -> Self {
                Self {
                    $( $group: $Group {
                        $( $field: settings!(@read $how, parse::$parse, values.get(stringify!($variable))), )+
                    }, )+
                    warnings: values.warnings,
                    rows: values.rows,
                }
            }
        }
    };
    (@flag) => { None };
    (@flag $flag:literal) => { Some($flag) };
    (@read Is, $parse:path, $text:expr) => {
        $text.map($parse).expect("it has a default").expect("checked when it was gathered")
    };
    (@read Unset, $parse:path, $text:expr) => {
        $text.map(|text| $parse(text).expect("checked when it was gathered"))
    };
}
