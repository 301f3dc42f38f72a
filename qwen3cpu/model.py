"""The public object: load a checkpoint, then generate, stream, score and render with it."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from qwen3cpu.arguments import named_arguments, whole_number
from qwen3cpu.checkpoint.config import end_token_ids
from qwen3cpu.checkpoint.purpose import Task, check_task
from qwen3cpu.checkpoint.tensors import Quant
from qwen3cpu.checkpoint.yarn import longest_context, scaled_config
from qwen3cpu.engine.engine import Engine
from qwen3cpu.engine.formats import DEFAULT_ACTIVATIONS, Activations, KvFormat, check_activations, check_kv
from qwen3cpu.engine.ngram_drafts import NgramDrafter
from qwen3cpu.errors import ArgumentError, MessageError
from qwen3cpu.generation.answerer import Answerer, results_of
from qwen3cpu.generation.batch import MOST_RUNNING
from qwen3cpu.generation.grammar import Grammars
from qwen3cpu.generation.options import ALIASES, NAMES, Options
from qwen3cpu.generation.results import Chunk, Result, TokenLogprob
from qwen3cpu.generation.scoring import all_logits, score_tokens
from qwen3cpu.generation.surroundings import Surroundings
from qwen3cpu.loading.adapters import Adapters, check_adapters
from qwen3cpu.loading.closable_model import ClosableModel
from qwen3cpu.loading.loaded_model import Checkpoint
from qwen3cpu.loading.open import open_checkpoint
from qwen3cpu.loading.reload import Reload
from qwen3cpu.retrieval.methods import SearchMethods
from qwen3cpu.system.blas_threads import shorten_waits
from qwen3cpu.system.memory import system_memory, touching
from qwen3cpu.system.progress_bar import Progress
from qwen3cpu.system.thread_count import resolve_threads
from qwen3cpu.text.prompts import Message, Prompt, PromptEncoder
from qwen3cpu.text.soft_switch import latest_switch
from qwen3cpu.text.tool_schemas import Tool, tool_schemas

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from qwen3cpu.generation.conversation import Conversation
    from qwen3cpu.generation.tool_loop import RunResult
    from qwen3cpu.generation.toolbox import CallableTool
    from qwen3cpu.retrieval.embedder import Embedder
    from qwen3cpu.retrieval.reranker import Reranker


@named_arguments({"model.generate": (*NAMES, *ALIASES)})
def load(
    source: str | os.PathLike[str],
    quant: Quant | None = None,
    kv: KvFormat = "f16",
    context: int | None = None,
    threads: int | None = None,
    cache: bool = True,
    progress: Progress | None = None,
    rope_scaling: Mapping[str, Any] | None = None,
    prefix_cache: int | None = None,
    task: Task | None = None,
    adapters: Mapping[str, str | os.PathLike[str]] | None = None,
    draft: str | os.PathLike[str] | None = None,
    drafts_from: str | os.PathLike[str] | None = None,
    activations: Activations = "int8",
) -> Model:
    """Load a Qwen3 checkpoint.

    Args:
        source: a local folder in Hugging Face layout, a packed file, a GGUF file, or a hub id ("Qwen/Qwen3-1.7B"). A
            released model also has short names ("1.7B", "qwen3:1.7b"). "tiny" and "tiny-embedding" are the small models
            inside the package.
        quant: weight format: "f32", "bf16", "q8" or "q4" (embedding, head and v_proj in q8). Default: the format of a
            packed file, or the one that keeps the levels of a quantised folder or GGUF file, else "q4".
        kv: format of the KV cache: "f16", "q8" (int8 with a scale per KV head and position: half the memory) or "f32".
        context: positions that a sequence may hold; default: the length that the model was made for. Memory is
            allocated as a sequence grows. A greater length turns YaRN on and writes a log message.
        threads: default: QWEN3CPU_THREADS, else min(CPU affinity, cgroup quota, physical cores).
        cache: keep the converted weights on disk, so that the next load converts nothing.
        progress: the progress bar for downloading and converting weights.
        rope_scaling: replaces config.json's: {"rope_type": "yarn", "factor": 4.0, ...}, or {"rope_type": "default"}.
        prefix_cache: bytes of KV cache kept for prompts that begin alike (a system prompt, tools, examples), so that
            the common beginning is processed once. The least recently used entries are evicted first. 0 keeps nothing.
            Default: a sixteenth of the memory that this process may use.
        task: "generation", "embedding" or "reranking": what the model is for, if its files do not tell. Default: what
            its files tell. `embed` and `rerank` need a model of their task.
        adapters: name -> path of LoRA adapters (PEFT folders, or GGUF files). `adapter=name` uses one for an answer.
        draft: a smaller model with the same tokenizer, whose guesses the model checks. Answers are the same, faster.
        drafts_from: a file that `write_drafts` made of texts. Parts of an answer that resemble them are guessed.
        activations: "int8" or "int16": what the inputs of quantised matrices are rounded to. "int16" loses almost
            nothing and takes as long to decode. Prompts take twice as long. "f32" and "bf16" round no inputs.

    Raises:
        CheckpointError, ConfigError: files are missing, damaged or describe another kind of model.
        DownloadError: a hub id could not be fetched.
        ArgumentError: an unknown format; a number out of range; a task, adapter's name or draft that is not allowed.
        AdapterError: an adapter that cannot be used with this model. DraftFileError: the same for `drafts_from`.
    """
    reload = Reload(load, locals())
    check_kv(kv)
    check_activations(activations)
    check_task(task)
    check_adapters(adapters)
    if context is not None:
        context = whole_number("context", context, 2, what="a number of positions")
    kept = system_memory() // 16 if prefix_cache is None else prefix_cache
    kept = whole_number("prefix_cache", kept, 0, what="a number of bytes")
    threads = resolve_threads(threads)
    shorten_waits()  # a package imported after qwen3cpu, such as SciPy, may have brought its own OpenBLAS
    checkpoint = open_checkpoint(source, quant, threads=threads, cache=cache, progress=progress)
    config = scaled_config(checkpoint.config, context, rope_scaling, checkpoint.source)
    checkpoint = replace(checkpoint, config=config, purpose=checkpoint.purpose.chosen(task, checkpoint.source))
    # Read the pages of a mapped file in advance: otherwise the first token waits for each of them in turn.
    ahead = checkpoint.packed_path is not None and checkpoint.fits
    with touching(matrix.data for matrix in checkpoint.matrices.values()) if ahead else nullcontext():
        model = Model(checkpoint, kv, activations, context=context, threads=threads, prefix_cache=kept, reload=reload)
        for name, path in (adapters or {}).items():
            model.adapters.load(name, path)
    if draft is not None:
        model.draft_with(load(draft, kv=kv, threads=threads, cache=cache, progress=progress, prefix_cache=0))
    model.draft_from(drafts_from)
    return model


class Model(ClosableModel, SearchMethods):
    """A loaded model. Several Python threads may use it at once; passes that they request together run as one.

    Made by `qwen3cpu.load`. A prompt is text, a list of messages ({"role": ..., "content": ...}) or token ids. Text is
    a user message, rendered by the checkpoint's chat template; with raw=True, or when the checkpoint has no template,
    it is fed unchanged. `with load(...) as model` closes it at the end. Pickling a model keeps the arguments of `load`.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        kv: str,
        activations: str = DEFAULT_ACTIVATIONS,
        *,
        context: int | None,
        threads: int,
        prefix_cache: int = 0,
        reload: Reload | None = None,
    ) -> None:
        config = checkpoint.config
        self._reload = reload
        self.kv = kv
        """Format of the KV cache."""
        self.activations = activations
        """What the inputs of quantised matrices are rounded to."""
        self.tokenizer = checkpoint.make_tokenizer()
        """encode(text) and decode(ids)."""
        template = None
        if checkpoint.chat_template is not None:
            # Imported here: Jinja takes a fifth of the time of `import qwen3cpu`.
            from qwen3cpu.text.chat_template import ChatTemplate

            template = ChatTemplate(checkpoint.chat_template, self.tokenizer, source=checkpoint.source)
        positions = context or longest_context(config)
        # Drop the text of tokenizer.json: 11 MB that are not needed once the tokenizer is made.
        self._checkpoint = checkpoint = replace(checkpoint, tokenizer_json=b"")
        self.engine = Engine(
            checkpoint.native_model(positions, self.tokenizer.size, kv, activations, threads),
            vocab_size=config.vocab_size,
            context=positions,
            prefix_cache=prefix_cache,
            check_weights=checkpoint.check_weights,
        )
        self._prompts = PromptEncoder(
            self.tokenizer, template, vocab_size=config.vocab_size, context=positions, source=checkpoint.source
        )
        eos = end_token_ids(config, checkpoint.generation) or self.tokenizer.end_tokens
        self.adapters = Adapters(self._checkpoint, self.engine)
        """The adapters by name; `load(name, path)` and `unload(name)` may be called while answers run."""
        surroundings = Surroundings(
            self.engine,
            self.tokenizer,
            eos,
            Grammars(self.tokenizer, eos),
            make_drafters=lambda: [NgramDrafter()],
            find_adapter=self.adapters.get_adapter,
        )
        self.answerer = Answerer(surroundings, self._prompts, checkpoint.generation, checkpoint.check_writes_text)

    # Properties

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The token ids with which the model ends an answer."""
        return self.answerer.surroundings.eos_token_ids

    @property
    def has_chat_template(self) -> bool:
        """Whether a chat template renders messages, and text as a user message."""
        return self._prompts.has_template

    @cached_property
    def embedder(self) -> Embedder:
        """See `SearchMethods`."""
        from qwen3cpu.retrieval.embedder import Embedder

        purpose = self._checkpoint.purpose.expect("embedding", self.source)
        return Embedder(self.engine, self.tokenizer, purpose, self.config.hidden_size, self.source)

    @cached_property
    def reranker(self) -> Reranker:
        """See `SearchMethods`."""
        from qwen3cpu.retrieval.reranker import Reranker

        purpose = self._checkpoint.purpose.expect("reranking", self.source)
        return Reranker(self.engine, self.tokenizer, purpose, self._checkpoint.head_row, self.source)

    # Answers

    @overload
    def generate(self, prompt: Prompt, *, n: None = None, **options: Unpack[Options]) -> Result: ...
    @overload
    def generate(self, prompt: Prompt, *, n: int, **options: Unpack[Options]) -> list[Result]: ...
    def generate(self, prompt: Prompt, *, n: int | None = None, **options: Unpack[Options]) -> Result | list[Result]:
        """Answer a prompt.

        Args:
            prompt: text (a user message, unless raw=True), messages, or token ids.
            n: number of answers, at most 1,024; the prompt is processed once for all. With it a list is returned.
            options: see `qwen3cpu.Options`.

        Raises:
            ArgumentError: an option that is unknown or not allowed; an empty prompt.
            MessageError: malformed messages.
            ContextLengthError: the prompt does not fit into the context.
        """
        request = self.answerer.request(prompt, n=n, **options)
        results = results_of(self.answerer.stream(prompt, request))
        return results[0] if request.n is None else results

    def stream(
        self, prompt: Prompt, *, n: int | None = None, **options: Unpack[Options]
    ) -> Generator[Chunk, None, None]:
        """Answer a prompt piece by piece: a generator with a chunk for each token. The last chunk has the result.

        Arguments are checked at the call; work begins with the first `next`. Closing the generator or pressing Ctrl-C
        stops within one token (or one piece of 256 tokens of the prompt) and frees the memory.
        """
        return self.answerer.stream(prompt, self.answerer.request(prompt, n=n, **options))

    @overload
    async def agenerate(self, prompt: Prompt, *, n: None = None, **options: Unpack[Options]) -> Result: ...
    @overload
    async def agenerate(self, prompt: Prompt, *, n: int, **options: Unpack[Options]) -> list[Result]: ...
    async def agenerate(
        self, prompt: Prompt, *, n: int | None = None, **options: Unpack[Options]
    ) -> Result | list[Result]:
        """`generate` for asyncio. Cancelling stops within one step and leaves nothing behind."""
        from qwen3cpu.generation import asyncio_streams

        found = await asyncio_streams.results(lambda: self.stream(prompt, n=n, **options))
        return found[0] if n is None and "num_return_sequences" not in options else found

    def astream(
        self, prompt: Prompt, *, n: int | None = None, **options: Unpack[Options]
    ) -> AsyncGenerator[Chunk, None]:
        """`stream` for `async for`. Arguments are checked when the first chunk is asked for.

        Breaking out of the loop, cancelling and `aclose` stop within one step and leave nothing behind.
        """
        from qwen3cpu.system import asyncio_steps

        return asyncio_steps.steps(lambda: self.stream(prompt, n=n, **options))

    def generate_batch(
        self, prompts: Sequence[Prompt], *, most_running: int = MOST_RUNNING, **options: Unpack[Options]
    ) -> list[Result]:
        """Answer several prompts, decoded together. Each result equals that of `generate` with the same seed.

        Args:
            prompts: as for `generate`; the results come in the same order.
            most_running: most answers decoded at a time; when one has finished, the next prompt takes its place.
            options: for all answers.
        """
        return self.answerer.batch(prompts, options, most_running)

    def run(
        self, prompt: str | Sequence[Message], *, tools: Sequence[CallableTool], max_steps: int = 10, **options: Any
    ) -> RunResult:
        """Answer a prompt, and make the tool calls that the model asks for until it answers without a call.

        The model gets the value that a function returns: a string unchanged, anything else as JSON. It gets as text an
        error that the function raises, and the reason why a call is malformed.

        Args:
            prompt: text (a user message) or messages.
            tools: Python functions; see `qwen3cpu.Options`. They are called one after the other, on this thread. The
                list may hold `McpServers` (qwen3cpu.generation.mcp_servers), which add all their tools.
            max_steps: most answers. The calls of the last one are not made.
            options: for every answer; see `qwen3cpu.Options`.

        Raises:
            ArgumentError: a tool that cannot be called; also as `generate`.
            McpServerError: an MCP server is not ready in time. Later errors of servers are sent to the model.
        """
        from qwen3cpu.generation.tool_loop import run_tools

        max_steps = whole_number("max_steps", max_steps, 1)
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        return run_tools(self, messages, tools, max_steps, options)

    def chat(
        self, system: str | None = None, *, prepare: Literal["idle"] | None = None, **options: Unpack[Options]
    ) -> Conversation:
        """A conversation that keeps its history and its KV cache.

        Args:
            system: the system message, if any.
            prepare: "idle" processes the history for the next turn in the background; see Conversation.
            options: for every answer, unless a turn overrides them.
        """
        from qwen3cpu.generation.conversation import Conversation

        return Conversation(self, system=system, prepare=prepare, **options)

    def resume(self, path: str | os.PathLike[str], **options: Unpack[Options]) -> Conversation:
        """Continue a conversation that `Conversation.save` wrote, in this or another process.

        Args:
            path: the file.
            options: added to the saved ones, which they override.

        Raises:
            SessionError: the file is missing or damaged, or was saved with another model, weight format, KV format or
                RoPE, or holds more positions than this model's context.
        """
        from qwen3cpu.generation.conversation import Conversation

        return Conversation.resume(self, path, **options)

    # Numbers

    def logits(
        self, ids: Sequence[int] | NDArray[np.integer[Any]], *, adapter: str | None = None
    ) -> NDArray[np.float32]:
        """The logits after each of `ids`: float32 [len(ids), vocab_size]. adapter: the name of the adapter to use.

        Raises:
            ArgumentError: no ids, or one outside the vocabulary.
            ContextLengthError: more ids than the context holds.
        """
        if isinstance(ids, str):
            raise ArgumentError("ids: expected token ids, found a str; model.tokenizer.encode makes them")
        tokens = self._prompts.text_ids(ids)
        self._checkpoint.check_writes_text()
        if not tokens:
            raise ArgumentError("ids: expected at least one token id, found none")
        return all_logits(self.engine, tokens, self.answerer.find_adapter(adapter))

    def score(self, text: str | Sequence[int], *, top: int = 0, adapter: str | None = None) -> list[TokenLogprob]:
        """How likely the model finds each token of a text: natural log-probabilities.

        Args:
            text: fed unchanged, and spellings of control tokens become control tokens; or token ids.
            top: alternatives to report at each position.
            adapter: the name of the adapter to use.

        Returns:
            One entry for every token except the first, which has no token before it.

        Raises:
            ArgumentError: fewer than two tokens. ContextLengthError: more than the context holds.
        """
        tokens = self._prompts.text_ids(text)
        if len(tokens) < 2:
            raise ArgumentError(f"text: expected at least two tokens, found {len(tokens)}")
        self._checkpoint.check_writes_text()
        top = whole_number("top", top, 0, self.config.vocab_size)
        return score_tokens(self.engine, self.tokenizer, tokens, top, self.answerer.find_adapter(adapter))

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None = None,
        thinking: bool | Literal["auto"] = "auto",
        add_generation_prompt: bool = True,
    ) -> str:
        """Render messages with the chat template, to text; tools and thinking as in `qwen3cpu.Options`.

        Raises:
            MessageError: malformed messages. ArgumentError: the checkpoint has no template.
        """
        if isinstance(messages, str):
            raise MessageError("messages: expected a list of messages, found a str")
        if isinstance(thinking, str) and thinking == "auto":
            thinking = latest_switch(messages) is not False
        return self._prompts.template.render(
            messages, tools=tool_schemas(tools), thinking=thinking, add_generation_prompt=add_generation_prompt
        )
