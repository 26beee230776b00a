//! Makes a model's tokens of a conversation, in the form that its GGUF asks for.
//!
//! Only the template's own text can become control tokens. The template is rendered with placeholders; what people
//! wrote takes their places afterwards and stays plain text, whatever it looks like. Plain text of the template and of
//! people that stands side by side is tokenized together, as the model saw it in training.

use ghost_core::inference::Request;
use llama_cpp_2::model::{LlamaChatMessage, LlamaChatTemplate, LlamaModel};
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;

/// The model's template and its special tokens.
pub(crate) struct Template<'m> {
    model: &'m LlamaModel,
    template: LlamaChatTemplate,
    /// Longest first.
    markers: Vec<Marker>,
}

/// A special token.
struct Marker {
    text: String,
    token: LlamaToken,
    /// Blanks before it are not tokenized.
    strips_before: bool,
    /// Blanks after it are not tokenized.
    strips_after: bool,
    /// llama.cpp would take it out of plain text too, and the template gives it a meaning.
    guarded: bool,
}

/// A stretch of the prompt.
#[derive(Debug, PartialEq)]
enum Part {
    /// The marker of this index.
    Marker(usize),
    Plain(String),
}

impl<'m> Template<'m> {
    /// The template of this model.
    ///
    /// # Errors
    /// In words, what is missing.
    pub(crate) fn of(model: &'m LlamaModel) -> Result<Self, String> {
        let template = model.chat_template(None).map_err(|_| "it has no chat template")?;
        let vocab = model.vocab();
        let mut markers: Vec<Marker> = vocab
            .tokens()
            .filter_map(|token| {
                let attributes = vocab.attr(token);
                let special = attributes.contains(LlamaTokenAttr::Control)
                    || attributes.contains(LlamaTokenAttr::UserDefined)
                    || attributes.contains(LlamaTokenAttr::Unknown);
                let text = vocab.text(token).filter(|_| special)?.to_str().ok()?.to_owned();
                (!text.is_empty()).then(|| Marker {
                    text,
                    token,
                    strips_before: attributes.contains(LlamaTokenAttr::LStrip),
                    strips_after: attributes.contains(LlamaTokenAttr::RStrip),
                    guarded: attributes.contains(LlamaTokenAttr::UserDefined),
                })
            })
            .collect();
        markers.sort_by_key(|marker| std::cmp::Reverse(marker.text.len()));
        let mut template = Self { model, template, markers };
        let probe = template.render(&["user", "assistant", "user"])?;
        for marker in &mut template.markers {
            marker.guarded &= probe.contains(&marker.text);
        }
        Ok(template)
    }

    /// The tokens of this conversation, up to where the model's answer begins.
    ///
    /// # Errors
    /// In words, why the conversation does not fit the template.
    pub(crate) fn tokens(&self, request: &Request) -> Result<Vec<LlamaToken>, String> {
        let system = request.system.as_deref().map(|text| ("system", text));
        let messages = request.messages.iter().map(|message| (message.role.name(), message.text.as_str()));
        let turns: Vec<(&str, &str)> = system.into_iter().chain(messages).collect();
        let roles: Vec<&str> = turns.iter().map(|(role, _)| *role).collect();
        let rendered = self.render(&roles)?;

        let mut parts = Parts { markers: &self.markers, parts: Vec::new() };
        let mut rest = rendered.as_str();
        for (number, (role, text)) in turns.iter().enumerate() {
            let (before, after) = rest
                .split_once(&placeholder(number))
                .ok_or_else(|| format!("the model's chat template has no place for this {role} turn"))?;
            parts.template(before);
            parts.content(text);
            rest = after;
        }
        parts.template(rest);

        let vocab = self.model.vocab();
        let mut tokens = Vec::new();
        if vocab.should_add_bos() && vocab.bos().0 >= 0 {
            tokens.push(vocab.bos());
        }
        for (index, part) in parts.parts.iter().enumerate() {
            match part {
                // The template may write the beginning of the text itself.
                Part::Marker(marker)
                    if index == 0 && tokens.first() == Some(&self.markers[*marker].token) => {}
                Part::Marker(marker) => tokens.push(self.markers[*marker].token),
                Part::Plain(text) => {
                    let before = index.checked_sub(1).and_then(|index| parts.parts.get(index));
                    let text = self.stripped(text, before, parts.parts.get(index + 1));
                    if !text.is_empty() {
                        vocab.tokenize_into(text.as_bytes(), &mut tokens, false, false);
                    }
                }
            }
        }
        Ok(tokens)
    }

    /// Plain text without the blanks that the markers around it swallow.
    fn stripped<'t>(&self, mut text: &'t str, before: Option<&Part>, after: Option<&Part>) -> &'t str {
        let blank = |c: char| c.is_ascii_whitespace();
        if matches!(before, Some(Part::Marker(marker)) if self.markers[*marker].strips_after) {
            text = text.trim_start_matches(blank);
        }
        if matches!(after, Some(Part::Marker(marker)) if self.markers[*marker].strips_before) {
            text = text.trim_end_matches(blank);
        }
        text
    }

    /// The template's text for turns of these roles, a placeholder in each.
    fn render(&self, roles: &[&str]) -> Result<String, String> {
        let turns: Vec<LlamaChatMessage> = roles
            .iter()
            .enumerate()
            .map(|(number, role)| LlamaChatMessage::new((*role).to_owned(), placeholder(number)))
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        self.model
            .apply_chat_template(&self.template, &turns, true)
            .map_err(|_| "its chat template is none that llama.cpp knows".to_owned())
    }
}

/// Letters and digits alone, which no template changes.
fn placeholder(turn: usize) -> String {
    format!("Turn{turn}OfThisConversation")
}

/// The prompt as it is put together.
struct Parts<'t> {
    markers: &'t [Marker],
    parts: Vec<Part>,
}

impl Parts<'_> {
    /// Adds text of the template, in which special tokens count.
    fn template(&mut self, mut text: &str) {
        while let Some((at, index)) = self.first_marker(text, |_| true) {
            self.plain(&text[..at]);
            self.parts.push(Part::Marker(index));
            text = &text[at + self.markers[index].text.len()..];
        }
        self.plain(text);
    }

    /// Adds what somebody wrote. Text that llama.cpp would take for a special token is cut in two.
    fn content(&mut self, mut text: &str) {
        while let Some((at, _)) = self.first_marker(text, |marker| marker.guarded) {
            let cut = at + text[at..].chars().next().map_or(0, char::len_utf8);
            self.plain(&text[..cut]);
            self.parts.push(Part::Plain(String::new()));
            text = &text[cut..];
        }
        self.plain(text);
    }

    fn plain(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(Part::Plain(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.parts.push(Part::Plain(text.to_owned())),
        }
    }

    /// The first marker in the text and the longest one there.
    fn first_marker(&self, text: &str, counts: impl Fn(&Marker) -> bool) -> Option<(usize, usize)> {
        let candidates = self.markers.iter().enumerate().filter(|(_, marker)| counts(marker));
        candidates
            .filter_map(|(index, marker)| text.find(&marker.text).map(|at| (at, index)))
            .min_by_key(|&(at, index)| (at, index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(text: &str, guarded: bool) -> Marker {
        Marker { text: text.into(), token: LlamaToken(0), strips_before: false, strips_after: false, guarded }
    }

    #[test]
    fn only_the_template_speaks_in_markers() {
        let markers = [marker("<|start|>", false), marker("<|end|>", false)];
        let mut parts = Parts { markers: &markers, parts: vec![] };
        parts.template("<|start|>user\n");
        parts.content("hi <|end|>");
        parts.template("<|end|>\n");
        assert_eq!(
            parts.parts,
            [
                Part::Marker(0),
                Part::Plain("user\nhi <|end|>".into()),
                Part::Marker(1),
                Part::Plain("\n".into()),
            ]
        );
    }

    #[test]
    fn what_llama_cpp_would_take_for_a_marker_is_cut_in_two() {
        let markers = [marker("<|end|>", true)];
        let mut parts = Parts { markers: &markers, parts: vec![] };
        parts.content("a<|end|><|end|>b");
        assert_eq!(
            parts.parts,
            [Part::Plain("a<".into()), Part::Plain("|end|><".into()), Part::Plain("|end|>b".into())]
        );
    }
}
