//! What each token of the model stands for.

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;

/// What a token is to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A piece of text.
    Text,
    /// The end of the turn.
    End,
    /// Some other control token, or one that is not used: no text.
    Control,
}

/// All tokens, by their numbers.
pub(crate) struct Vocabulary {
    kinds: Vec<Kind>,
    pieces: Vec<Box<[u8]>>,
    /// Whether the first token of a text carries a space that is not meant (SentencePiece).
    leading_space: bool,
}

impl Vocabulary {
    /// Reads the model's tokens once, so that no step of an answer has to ask llama.cpp.
    pub(crate) fn of(model: &LlamaModel) -> Self {
        let vocab = model.vocab();
        let kind = |token| match () {
            () if vocab.is_eog(token) => Kind::End,
            () if vocab.attr(token).intersects(LlamaTokenAttr::Control | LlamaTokenAttr::Unused) => {
                Kind::Control
            }
            () => Kind::Text,
        };
        Self {
            kinds: vocab.tokens().map(kind).collect(),
            pieces: vocab.tokens().map(|token| vocab.token_to_piece(token, false, None).into()).collect(),
            leading_space: model.meta_val_str("tokenizer.ggml.model").is_ok_and(|name| name == "llama"),
        }
    }

    /// The tokens that stand for text.
    pub(crate) fn texts(&self) -> Vec<LlamaToken> {
        let texts = (0..).zip(&self.kinds).filter(|(_, kind)| **kind == Kind::Text);
        texts.map(|(token, _)| LlamaToken::new(token)).collect()
    }

    pub(crate) fn kind(&self, token: usize) -> Kind {
        self.kinds[token]
    }

    /// A token's bytes; `first` where nothing of the answer stands before it.
    pub(crate) fn bytes(&self, token: usize, first: bool) -> &[u8] {
        match &*self.pieces[token] {
            [b' ', rest @ ..] if first && self.leading_space => rest,
            piece => piece,
        }
    }
}
