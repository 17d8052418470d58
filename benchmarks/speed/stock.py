"""A stock-size Stable Diffusion 1.5 with random weights: our step against what the example scripts of diffusers do.

Those scripts are not part of the diffusers package: their step is made here as they describe it. The picture goes
through the VAE and the prompt through the text encoder anew at each step, and Textual Inversion trains the whole token
table and puts the other rows back afterwards.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import timing

SIZE = 256


def pipeline(dtype: str = "float32"):
    """The architecture of Stable Diffusion 1.5 (860 million parameters in the UNet) with random weights."""
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    import diffusers_persona as dp

    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, dtype))
    tokenizer = dp.toybox.load().tokenizer
    text = CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        max_position_embeddings=77, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, projection_dim=768,
    )  # fmt: skip
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512,
    )  # fmt: skip
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=unet,
        scheduler=DDPMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
        ),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    torch.set_default_dtype(torch.float32)
    return pipe


class ScriptStep:
    """One step as the example scripts for `recipe` ("textual-inversion" or "lora") take it."""

    def __init__(self, pipe, recipe: str, picture):
        import torch
        from peft import LoraConfig

        from diffusers_persona import backbones

        self.host = backbones.of(pipe).private_clone(dtype=torch.float32)
        self.picture, self.whole_table = picture, recipe == "textual-inversion"
        if self.whole_table:
            self.table = self.host.pipe.text_encoder.get_input_embeddings().weight.requires_grad_(True)
            self.kept, parameters = self.table.detach().clone(), [self.table]
        else:
            unet = self.host.denoiser
            unet.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
            parameters = [p for p in unet.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=1e-2)
        self.schedule, self.parameters = self.host.noise_schedule(), parameters

    def __call__(self):
        """Encode the picture and the prompt, predict, go back, step."""
        import torch

        with torch.no_grad():
            mean, deviation = self.host.encode_images(self.picture)
            latents = mean + deviation * torch.randn_like(mean)
        noise, timesteps = torch.randn_like(latents), torch.randint(0, 1000, (1,))
        with torch.set_grad_enabled(self.whole_table):
            conditions = self.host.encode_text(self.host.tokenize(["a photo of a toy"]))
        prediction = self.host.denoise(self.schedule.add_noise(latents, noise, timesteps), timesteps, conditions)
        torch.nn.functional.mse_loss(prediction.float(), noise).backward()
        if not self.whole_table:
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.whole_table:
            with torch.no_grad():
                self.table[:-1] = self.kept[:-1]


def step_time(recipe: str, rounds: int, host: str = "sd15"):
    """Our step, the scripts' step and the bare pass in turns in one process, single precision, batch 1."""
    import torch
    from PIL import Image
    from steps import Bare

    import diffusers_persona as dp

    pipe, size = (dp.toybox.load(), 64) if host == "toybox" else (pipeline(), SIZE)
    picture = torch.rand(1, 3, size, size) * 2 - 1
    theirs_step, bare = ScriptStep(pipe, recipe, picture), Bare(pipe, recipe, resolution=size, rows=1)
    turns = timing.Turns(theirs_step, bare)
    dp.learn(
        pipe, [Image.new("RGB", (size, size), "red")], recipe, noun="toy", steps=rounds + 1, batch_size=1,
        precision="fp32", resolution=size, progress=False, callback=turns,
    )  # fmt: skip
    theirs, floor = (seconds[1:] for seconds in turns.seconds)
    source = "the example scripts' step as they describe it"
    model = "the Toybox" if host == "toybox" else "SD 1.5 size, random weights"
    where = f"{model}, {size} px, batch 1, fp32"
    scripts_row = dict(what=f"a step of {recipe} / {source}, {where}", **timing.ratio(turns.steps, theirs))
    target = "<= 0.72" if recipe == "textual-inversion" and host == "sd15" else "<= 1.0"
    timing.put(f"scripts {recipe} {host}", target=target, **scripts_row)
    bare_row = dict(what=f"a step of {recipe} / bare forward+backward, {where}", **timing.ratio(turns.steps, floor))
    timing.put(f"step {recipe} {host} batch 1", target="<= 1.05", **bare_row)


def peak_memory(recipe: str):
    """Peak resident memory of two steps, each plan in a process of its own."""
    peaks = {plan: _in_process(recipe, plan) for plan in ("scripts", "float32", "bfloat16")}
    for plan, target in (("float32", "<= 0.95"), ("bfloat16", "<= 0.6")):
        timing.put(
            f"memory {recipe} sd15 {plan}",
            what=f"peak memory of learning with {recipe}, {plan} weights / the scripts' step in float32, {SIZE} px",
            target=target,
            ratio=round(peaks[plan] / peaks["scripts"], 3),
            gigabytes=[round(peaks[plan] / 1e9, 2), round(peaks["scripts"] / 1e9, 2)],
        )


def _in_process(recipe, plan) -> int:
    command = [sys.executable, str(Path(__file__).with_name("run.py")), "peak", "--recipes", recipe, "--plan", plan]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(found.splitlines()[-1])["bytes"]


def peak(recipe: str, plan: str):
    """Takes two steps by `plan` and prints the peak of this process's memory."""
    import torch
    from PIL import Image

    import diffusers_persona as dp

    if plan == "scripts":
        step = ScriptStep(pipeline(), recipe, torch.rand(1, 3, SIZE, SIZE) * 2 - 1)
        step()
        step()
    else:
        precision = {"float32": "fp32", "bfloat16": "bf16"}[plan]
        pictures = [Image.new("RGB", (SIZE, SIZE), "red")]
        settings = dict(noun="toy", steps=2, batch_size=1, resolution=SIZE, progress=False)
        dp.learn(pipeline(plan), pictures, recipe, precision=precision, **settings)
    print(json.dumps({"bytes": _peak_bytes()}))


def _peak_bytes() -> int:
    """The most memory that this process has had; `ru_maxrss` would count the process that started it, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
