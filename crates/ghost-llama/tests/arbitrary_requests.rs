//! Asks the tiny model requests made of random bytes.
//!
//! `fuzz/` does the same for as long as one likes, guided by coverage; this is the part that every test run affords.

mod arbitrary;

#[test]
fn no_request_ends_the_process() {
    let mut chance = fastrand::Rng::with_seed(23);
    for _ in 0..150 {
        let length = chance.usize(0..1200);
        // Half of them text, so that grammars and schemas get further than their first byte.
        let text = chance.bool();
        let letters = b"abc 01{}[]()|+*?\"\\,:-^.\n=";
        let byte = || if text { letters[chance.usize(0..letters.len())] } else { chance.u8(..) };
        arbitrary::ask(&std::iter::repeat_with(byte).take(length).collect::<Vec<u8>>());
    }
}
