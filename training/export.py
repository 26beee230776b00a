"""Writes a checkpoint as GGUF: llama architecture, q8_0 matrices, the tokenizer and the chat template inside.

    python -m training.export CHECKPOINT OUT.gguf
    python -m training.export --random OUT.gguf       # untrained weights, for trying the file format
"""

import sys

import gguf
import numpy as np

from .model import Shape, Tiny, load
from .tokenizer import END, PADDING, PASS, SPECIALS, Tokenizer

TEMPLATE = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
NAMES = {"attn_norm": "attn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "ffn_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}


def write(model, tokenizer, path):
    shape = model.shape
    out = gguf.GGUFWriter(path, "llama")
    out.add_name("ghost-tiny")
    out.add_license("MIT OR Apache-2.0")
    out.add_description("Answers six kinds of simple task and refuses the rest; see ghost-tiny.md")
    out.add_context_length(shape.context)
    out.add_embedding_length(shape.width)
    out.add_block_count(shape.layers)
    out.add_feed_forward_length(shape.hidden)
    out.add_head_count(shape.heads)
    out.add_head_count_kv(shape.heads)
    out.add_rope_dimension_count(64)
    out.add_rope_freq_base(shape.theta)
    out.add_layer_norm_rms_eps(shape.epsilon)
    out.add_vocab_size(shape.vocab)
    out.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    filler = [f"<|filler{i}|>" for i in range(shape.vocab - len(tokenizer.tokens))]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("smollm")
    out.add_token_list(tokenizer.tokens + filler)
    control, normal, unused = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL, gguf.TokenType.UNUSED
    out.add_token_types([control] * len(SPECIALS) + [normal] * (len(tokenizer.tokens) - len(SPECIALS)) + [unused] * len(filler))
    out.add_token_merges([" ".join(m) for m in tokenizer.merges])
    out.add_bos_token_id(PADDING)
    out.add_eos_token_id(END)
    out.add_eot_token_id(END)
    out.add_eom_token_id(PASS)  # llama.cpp ends generation there too
    out.add_pad_token_id(PADDING)
    out.add_unk_token_id(PADDING)
    out.add_add_bos_token(False)
    out.add_add_eos_token(False)
    out.add_chat_template(TEMPLATE)

    def add(name, tensor):
        data = tensor.detach().float().numpy()
        if data.ndim == 1:
            out.add_tensor(name, data)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            out.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(data), kind), raw_dtype=kind)

    add("token_embd.weight", model.embedding)
    add("output_norm.weight", model.norm)
    for i, block in enumerate(model.blocks):
        for ours, theirs in NAMES.items():
            add(f"blk.{i}.{theirs}.weight", block[ours])
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main(source, path):
    tokenizer = Tokenizer.load()
    model = Tiny(Shape(vocab=tokenizer.size)) if source == "--random" else load(source)[0]
    write(model, tokenizer, path)


if __name__ == "__main__":
    main(*sys.argv[1:3])
