// The calls of the official client's tutorial, from Node: node openai_client.mjs URL MODEL. It prints one JSON object.
import OpenAI from "openai";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL });
const messages = [{ role: "user", content: "Say this is a test." }];

const answer = await client.chat.completions.create({ model, messages });
const plain = {
  object: answer.object,
  role: answer.choices[0].message.role,
  content: answer.choices[0].message.content,
  finish_reason: answer.choices[0].finish_reason,
  adds_up: answer.usage.total_tokens === answer.usage.prompt_tokens + answer.usage.completion_tokens,
};

const stream = { content: "", pieces: 0, reasons: [], usage: false };
const asked = { model, messages, max_tokens: 20, stream: true, stream_options: { include_usage: true } };
for await (const chunk of await client.chat.completions.create(asked)) {
  for (const choice of chunk.choices) {
    if (choice.delta.content) {
      stream.content += choice.delta.content;
      stream.pieces += 1;
    }
    if (choice.finish_reason) stream.reasons.push(choice.finish_reason);
  }
  stream.usage = Boolean(chunk.usage);
}

const refused = {};
const wrong = {
  role: { model, messages: [{ role: "doctor", content: "x" }] },
  range: { model, messages, temperature: 3 },
  model: { model: "nobody", messages },
  empty: { model, messages: [] },
};
for (const [name, request] of Object.entries(wrong)) {
  try {
    await client.chat.completions.create(request);
    refused[name] = null;
  } catch (error) {
    refused[name] = [error.constructor.name, error.status, error.error.message];
  }
}

const models = [];
for await (const served of client.models.list()) models.push(served.id);
process.stdout.write(JSON.stringify({ models, plain, stream, refused }));
