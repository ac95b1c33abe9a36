// The openai Node SDK, unchanged, against the gateway: node smoke.mjs BASE_URL
// Prints {check: "ok" | what went wrong} as JSON. What the models answer is scripted in test_openai_node.py.
import assert from "node:assert/strict";
import OpenAI from "openai";

const [baseURL] = process.argv.slice(2);
const client = (apiKey) => new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const app = client("ps-app-0123456789");
const say = (content) => [{ role: "user", content: `node: ${content}` }];
const usages = (chunks) => chunks.filter((chunk) => chunk.usage).map((chunk) => chunk.usage.total_tokens);
const text = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const checks = {
  async whole() {
    const { data, response } = await app.chat.completions
      .create({ model: "chat", messages: say("whole") })
      .withResponse();
    assert.equal(data.choices[0].message.content, "水 and stone");
    assert.equal(data.usage.total_tokens, 15);
    assert.equal(response.headers.get("x-penstock-cache"), "miss");
    assert.match(response.headers.get("x-request-id"), /^req_/);
  },

  async repeated() {
    const ask = () => app.chat.completions.create({ model: "chat", messages: say("repeated") }).withResponse();
    const [first, second] = [await ask(), await ask()];
    assert.deepEqual(second.data, first.data);
    assert.equal(second.response.headers.get("x-penstock-cache"), "exact");
  },

  async streamed() {
    const request = { model: "chat", messages: say("streamed"), stream: true };
    const chunks = await collect(await app.chat.completions.create(request));
    assert.equal(text(chunks), "水 and stone");
    assert.deepEqual(usages(chunks), []);
    assert.ok(chunks.every((chunk) => chunk.choices.length === 1));
  },

  async streamed_with_usage() {
    const request = { model: "chat", messages: say("usage"), stream: true, stream_options: { include_usage: true } };
    const chunks = await collect(await app.chat.completions.create(request));
    assert.equal(text(chunks), "水 and stone");
    assert.deepEqual(usages(chunks), [15]);
    assert.equal(chunks.at(-1).choices.length, 0);
  },

  async tools() {
    const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object" } } }];
    const request = { model: "busy", messages: say("tools"), tools };
    const whole = await app.chat.completions.create(request);
    assert.equal(whole.choices[0].message.tool_calls[0].function.arguments, '{"city":"北京"}');
    const stream = app.chat.completions.stream({ ...request, messages: say("tools, streamed") });
    const told = (await stream.finalChatCompletion()).choices[0].message.tool_calls[0];
    assert.deepEqual([told.id, told.function.name, told.function.arguments], ["call_1", "weather", '{"city":"北京"}']);
  },

  async embeddings() {
    const byDefault = await app.embeddings.create({ model: "embed", input: ["node"] });
    assert.deepEqual(byDefault.data[0].embedding, [0.25, -1.5]);
    const asNumbers = await app.embeddings.create({ model: "embed", input: ["node"], encoding_format: "float" });
    assert.deepEqual(asNumbers.data[0].embedding, [0.25, -1.5]);
  },

  async models() {
    const names = (await collect(await app.models.list())).map((model) => model.id);
    assert.ok(names.includes("chat") && names.includes("embed"));
    assert.equal((await app.models.retrieve("chat")).object, "model");
  },

  async errors() {
    const ask = (key, model, text) => client(key).chat.completions.create({ model, messages: say(text) });
    await assert.rejects(ask("ps-nobody", "chat", "a"), OpenAI.AuthenticationError);
    await assert.rejects(ask("ps-narrow-0123456789", "claude", "b"), OpenAI.PermissionDeniedError);
    await assert.rejects(ask("ps-app-0123456789", "gpt-none", "c"), (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.equal(error.code, "model_not_found");
      assert.match(error.message, /use one of chat, embed/);
      return true;
    });
    await assert.rejects(app.chat.completions.create({ model: "chat" }), OpenAI.BadRequestError);
    await assert.rejects(ask("ps-app-0123456789", "embed", "busy"), OpenAI.RateLimitError);
    await assert.rejects(ask("ps-app-0123456789", "down", "down"), OpenAI.InternalServerError);
  },

  async an_error_in_a_begun_stream() {
    const request = { model: "folded", messages: say("broken"), stream: true };
    const stream = await app.chat.completions.create(request);
    const seen = [];
    await assert.rejects(
      async () => {
        for await (const chunk of stream) seen.push(chunk);
      },
      (error) => error instanceof OpenAI.APIError && error.type === "server_error",
    );
    assert.equal(text(seen), "half");
  },
};

const results = {};
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    results[name] = "ok";
  } catch (error) {
    results[name] = String(error?.stack ?? error);
  }
}
console.log(JSON.stringify(results));
