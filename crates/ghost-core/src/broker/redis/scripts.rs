//! The scripts, each with the keys' names and the shared half in front.

use std::sync::LazyLock;

use redis::Script;

use super::keys::Keys;

/// One script.
pub(super) struct Source {
    /// Redis knows it by this, once it has seen it.
    pub(super) sha: String,
    pub(super) code: String,
}

impl Source {
    fn new(flags: &str, body: &str) -> Self {
        let code = format!("{flags}{}{}{body}", Keys::prelude(), include_str!("common.lua"));
        Self { sha: Script::new(&code).get_hash().to_owned(), code }
    }
}

/// Runs where memory is short too: whatever was accepted shall come to its end and make room.
const ALWAYS: &str = "#!lua flags=allow-oom\n";
/// Refused where memory is short: at the first write at the latest, so nothing is half done.
const WHERE_THERE_IS_ROOM: &str = "";

macro_rules! scripts {
    ($($name:ident = $flags:ident $file:literal;)+) => {
        $(pub(super) static $name: LazyLock<Source> =
            LazyLock::new(|| Source::new($flags, include_str!($file)));)+
    };
}

scripts! {
    SUBMIT = WHERE_THERE_IS_ROOM "submit.lua";
    CLAIM = ALWAYS "claim.lua";
    COMMIT = ALWAYS "commit.lua";
    OVERDUE = ALWAYS "overdue.lua";
    OLDEST = ALWAYS "oldest.lua";
    READ = ALWAYS "read.lua";
    SCAN = ALWAYS "scan.lua";
    SETTLED = ALWAYS "settled.lua";
    LEASED = ALWAYS "leased.lua";
    PURGE = ALWAYS "purge.lua";
    ANNOUNCE = ALWAYS "announce.lua";
    AGENTS = ALWAYS "agents.lua";
    DOCUMENT = WHERE_THERE_IS_ROOM "document.lua";
}
