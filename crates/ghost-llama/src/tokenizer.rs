//! Whether a model's tokenizer can take whatever people write: where it cannot, llama.cpp ends the process over a text.

use llama_cpp_2::model::LlamaModel;

/// Looks at the tokenizer before the first text does.
///
/// # Errors
/// In words, what the model lacks.
pub(crate) fn check(model: &LlamaModel) -> Result<(), String> {
    let vocab = model.vocab();
    // What the crate says of the vocabulary's type knows no WordPiece and panics, so the file is asked.
    match model.meta_val_str("tokenizer.ggml.model").unwrap_or_default().as_str() {
        "" | "none" | "no_vocab" => Err("it has no tokenizer".into()),
        // SentencePiece spells what it has no token for byte by byte, and a byte without a token is an exception.
        "llama" => {
            let mut spelled = [false; 256];
            for byte in vocab.tokens().filter_map(|token| byte(vocab.text(token)?.to_bytes())) {
                spelled[usize::from(byte)] = true;
            }
            match spelled.iter().position(|spelled| !spelled) {
                None => Ok(()),
                Some(byte) => Err(format!("its tokenizer has no token for the byte {byte:#04x}")),
            }
        }
        _ => Ok(()),
    }
}

/// The byte that a token stands for: `<0x0A>`, or the byte itself.
fn byte(text: &[u8]) -> Option<u8> {
    match text {
        [byte] => Some(*byte),
        [b'<', b'0', b'x', hex @ .., b'>'] if hex.len() == 2 => {
            u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_spelled_in_hexadecimal_or_as_it_is() {
        assert_eq!(byte(b"<0x0A>"), Some(b'\n'));
        assert_eq!(byte(b"a"), Some(b'a'));
        assert_eq!(byte(b"<0xGG>"), None);
        assert_eq!(byte(b"<0x0A"), None);
        assert_eq!(byte(b"ab"), None);
        assert_eq!(byte(b""), None);
    }
}
