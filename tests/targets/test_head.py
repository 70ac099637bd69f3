import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from targets.head import open_decoder, selected_rows

ARCHITECTURES = [
    "albert", "bert", "big_bird", "camembert", "convbert", "data2vec-text", "deberta", "deberta-v2", "distilbert",
    "electra", "ernie", "flaubert", "fnet", "ibert", "layoutlm", "megatron-bert", "modernbert", "mpnet",
    "nystromformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta",
]  # fmt: skip
SMALL = {
    "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1,
    "sep_token_id": 2, "local_attention": 16,
}  # fmt: skip


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_head_on_masked_rows_is_bit_exact(kind: str) -> None:
    defaults = AutoConfig.for_model(kind)
    config = AutoConfig.for_model(kind, **{name: value for name, value in SMALL.items() if hasattr(defaults, name)})
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(config).eval()
    input_ids = torch.randint(5, 290, (3, 16))
    inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
    rows = torch.tensor([3, 7, 20, 40])
    with torch.no_grad():
        full = model(**inputs).logits.reshape(48, -1)[rows]
        with selected_rows(model, rows):
            assert torch.equal(full, model(**inputs).logits.reshape(4, -1))
        with selected_rows(model, rows), open_decoder(model):
            hidden = model(**inputs).logits.reshape(4, -1)
        assert torch.equal(full, model.get_output_embeddings()(hidden))
        assert torch.equal(full, model(**inputs).logits.reshape(48, -1)[rows])
