use ghost_core::inference::Shape;
use proptest::prelude::*;

use super::super::tests::{takes, walk};
use super::*;

fn allows(grammar: &str, answer: &str) -> bool {
    takes(&Shape::Grammar(grammar.to_owned()), answer)
}

fn refusal(grammar: &str) -> String {
    Grammar::new(grammar).err().unwrap_or_else(|| panic!("{grammar} is a grammar"))
}

#[test]
fn literals_classes_groups_and_alternatives_mean_what_they_mean() {
    let grammar = "root ::= \"a\" (\"b\" | [c-e\\]]) [^x-z\"] . # a comment\n";
    assert!(allows(grammar, "abc\n"));
    assert!(allows(grammar, "a]é👻"));
    assert!(!allows(grammar, "aby!"));
    assert!(!allows(grammar, "ab\"!"));
    assert!(!allows(grammar, "abc"));
    assert!(!allows(grammar, "abc12"));
}

#[test]
fn repetitions_count() {
    for (repetition, counts) in [
        ("*", vec![0, 1, 2, 5]),
        ("+", vec![1, 2, 5]),
        ("?", vec![0, 1]),
        ("{2}", vec![2]),
        ("{2,}", vec![2, 5]),
        ("{1,2}", vec![1, 2]),
        ("{0,0}", vec![0]),
    ] {
        for count in [0, 1, 2, 5] {
            let fits = allows(
                &format!("root ::= \"<\" (\"ab\"){repetition} \">\""),
                &format!("<{}>", "ab".repeat(count)),
            );
            assert_eq!(fits, counts.contains(&count), "{count} of {repetition}");
        }
    }
}

#[test]
fn a_repetition_is_of_the_whole_literal() {
    assert!(allows("root ::= \"ab\"{2}", "abab"));
    assert!(!allows("root ::= \"ab\"{2}", "abb"));
}

#[test]
fn rules_may_contain_themselves() {
    let grammar = "root ::= \"(\" root \")\" | \"\"\n";
    assert!(allows(grammar, "((()))"));
    assert!(!allows(grammar, "((())"));
}

#[test]
fn rules_go_on_over_lines_inside_parentheses_and_behind_a_bar() {
    assert!(allows("root ::=\n  (\n  x\n  | y) |\n  \"z\"\nx ::= \"x\"\r\ny ::= \"y\"", "y"));
}

#[test]
fn escapes_name_characters() {
    assert!(allows(r#"root ::= "\x41\u00e9\U0001F47B\n\\\"""#, "Aé👻\n\\\""));
    assert!(allows(r"root ::= [\x00-\x1f]+", "\u{0}\u{1f}"));
}

#[test]
fn half_a_character_is_allowed_only_where_the_whole_could_be() {
    let grammar = Grammar::new("root ::= [à-ÿ]").expect("a grammar");
    assert!(grammar.allows("é".as_bytes()));
    assert!(grammar.allows(b"\xc3"));
    assert!(!grammar.allows(b"\xc4"));
    assert!(!grammar.allows(b"\xf0"));
    assert!(!grammar.allows(b"\xff"));
}

#[test]
fn nothing_may_follow_where_a_grammar_ends() {
    let mut grammar = Grammar::new("root ::= \"a\"").expect("a grammar");
    grammar.accept(b"a");
    assert!(grammar.may_end());
    assert!((0..=255).all(|byte| !grammar.allows(&[byte])));
}

#[test]
fn an_empty_repetition_of_an_empty_repetition_ends() {
    assert!(allows("root ::= ((\"a\"*)*)* \"b\"", "aab"));
    assert!(allows("root ::= (x | \"\")+ \"b\"\nx ::= \"a\"?", "b"));
}

#[test]
fn a_refusal_says_what_is_wrong_and_where() {
    assert!(refusal("other ::= \"a\"").contains("`root`"));
    assert!(refusal("root ::= missing").contains("missing"));
    assert!(refusal("root ::= \"a\"\nroot ::= \"b\"").contains("twice"));
    assert!(refusal("root ::= \"a\"\nnext :: \"b\"").contains("line 2"));
    for broken in [
        "",
        "root",
        "root ::= \"a",
        "root ::= [a",
        "root ::= (\"a\"",
        "root ::= )",
        "root ::= *",
        "root ::= \"a\"{",
        "root ::= \"a\"{3,1}",
        "root ::= \"a\"{9999}",
        "root ::= [z-a]",
        "root ::= \"\\q\"",
        "root ::= \"\\x4\"",
        "root ::= <token>",
        "root ::= \"a\"**",
        "\0",
        "root ::= []",
        "root ::= \"a\" ::=",
    ] {
        refusal(broken);
    }
}

#[test]
fn hostile_grammars_are_refused_in_bounded_work() {
    refusal("root ::= root");
    refusal("root ::= root \"a\" | \"b\"");
    refusal("root ::= x root \"c\" | \"a\"\nx ::= e\ne ::= \"b\" | \"\"");
    refusal(&format!("root ::= {}\"a\"{}", "(".repeat(100_000), ")".repeat(100_000)));
    refusal(&format!("root ::= {}", "\"a\"{2000} ".repeat(1000)));
    let mut doubling = String::from("root ::= r0\n");
    for n in 0..40 {
        doubling.push_str(&format!("r{n} ::= r{} \"x\" | r{} \"y\"\n", n + 1, n + 1));
    }
    doubling.push_str("r40 ::= \"z\"\n");
    refusal(&doubling);
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(root|::=|[a-z\"\\[\\](){}|*+?,0-9\\\\.^#<> \n-]){0,40}") {
        let _ = Grammar::new(&text);
    }

    #[test]
    fn whatever_a_grammar_allows_it_takes_as_a_whole(picks in prop::collection::vec(any::<u8>(), 1..60)) {
        let text = "root ::= item (\", \" item){0,3}\nitem ::= [a-cé]+ | \"[\" root \"]\" | \"\\\"\" [^\"] \"\\\"\"";
        if let Some(answer) = walk(&mut Grammar::new(text).expect("a grammar"), &picks) {
            prop_assert!(allows(text, &String::from_utf8(answer).expect("whole characters")));
        }
    }
}
