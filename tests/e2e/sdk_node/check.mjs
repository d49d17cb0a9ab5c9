// Run by test_sdk_node.py: uses the official `openai` package against BASE_URL and prints one JSON object.
import OpenAI from "openai";

const { BASE_URL, API_KEY, MODEL, EMBEDDING_MODEL } = process.env;
const client = new OpenAI({ baseURL: BASE_URL, apiKey: API_KEY, maxRetries: 0, timeout: 120_000 });
const messages = [{ role: "user", content: "What is the capital of Kenya?" }];
const found = {};

const chat = await client.chat.completions
  .create({ model: MODEL, messages, max_tokens: 12, temperature: 0, seed: 1 })
  .withResponse();
found.chat = chat.data.choices[0].message.content;
found.call = chat.response.headers.get("x-regalia-call");
found.usage = chat.data.usage;

found.stream = "";
const stream = await client.chat.completions.create({
  model: MODEL, messages, max_tokens: 12, temperature: 0, seed: 1, stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  found.stream += chunk.choices[0]?.delta?.content ?? "";
  found.streamUsage = chunk.usage ?? found.streamUsage;
}

const tools = [{
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
}];
const called = await client.chat.completions.create({
  model: MODEL, messages: [{ role: "user", content: "What is the weather in Nairobi?" }],
  tools, tool_choice: "required", max_tokens: 64, temperature: 0,
});
found.tool = called.choices[0].message.tool_calls?.[0].function ?? null;

const response = await client.responses.create({
  model: MODEL, input: "What is the capital of Kenya?", max_output_tokens: 16, temperature: 0,
});
found.response = response.output_text;

found.events = [];
const events = await client.responses.create({
  model: MODEL, input: "What is the capital of Kenya?", max_output_tokens: 16, temperature: 0, stream: true,
});
for await (const event of events) found.events.push(event.type);

const embeddings = await client.embeddings.create({ model: EMBEDDING_MODEL, input: ["query: one", "query: two"] });
found.dimensions = embeddings.data.map((item) => item.embedding.length);

found.models = [];
for await (const model of client.models.list()) found.models.push(model.id);

async function failure(attempt) {
  try {
    await attempt();
    return null;
  } catch (error) {
    return { name: error.constructor.name, status: error.status, code: error.code, param: error.param };
  }
}
const stranger = new OpenAI({ baseURL: BASE_URL, apiKey: "rg-not-a-key", maxRetries: 0 });
found.wrongKey = await failure(() => stranger.models.list());
found.wrongModel = await failure(() => client.chat.completions.create({ model: "gpt-none", messages }));
found.wrongField = await failure(() => client.chat.completions.create({ model: MODEL, messages, max_tokens: -1 }));

console.log(JSON.stringify(found));
