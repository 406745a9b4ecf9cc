// What a TypeScript client does with the workshop, whichever SDK it is of; the adapter hides the SDKs' differences.

export const SECONDS = 15;

const ANSWERS = { name: 'Ada', city: 'Paris', size: 42 };

/** Collects what the server tells and asks the client. */
export class Ear {
  progress = [];
  logs = [];
  questions = [];
  changes = [];
  waiting = [];

  elicited = params => {
    const [field] = Object.keys(params.requestedSchema.properties);
    this.questions.push([params.message, [field]]);
    return field in ANSWERS ? { action: 'accept', content: { [field]: ANSWERS[field] } } : { action: 'decline' };
  };

  sampled = params => {
    const { content } = params.messages.at(-1);
    const block = Array.isArray(content) ? content[0] : content;
    const text = `${block.text}, at most ${params.maxTokens}`;
    return { role: 'assistant', content: { type: 'text', text }, model: 'tiny' };
  };

  rooted = () => ({ roots: [{ uri: 'file:///home/ada', name: 'home' }] });

  logged = params => this.logs.push([params.level, params.data, params.logger ?? null]);

  changed = what => {
    this.changes.push(what);
    this.waiting.splice(0).forEach(wake => wake());
  };

  async until(count) {
    while (this.changes.length < count) await new Promise(wake => this.waiting.push(wake));
  }
}

const sleep = ms => new Promise(wake => setTimeout(wake, ms));

/** Runs every step and prints what was seen as one JSON object. */
export async function run({ client, ear, key, prefix, call, watch, modern, revision }) {
  const text = async (name, args, options) => (await call(prefix + name, args, options)).content[0].text;
  const tools = async () => (await client.listTools()).tools;
  const tool = async name => (await tools()).find(each => each.name === prefix + name);
  const plain = name => (name.startsWith(prefix) ? name.slice(prefix.length) : name);
  const result = async (name, args) => {
    const got = await call(prefix + name, args);
    return [got.isError ?? false, got.content[0].text];
  };
  const asked = async (name, args) => {
    ear.questions = [];
    const answer = await text(name, args);
    return [answer, ear.questions];
  };
  const read = async uri => {
    const [contents] = (await client.readResource({ uri })).contents;
    return [contents.uri, contents.mimeType, contents.text ?? contents.blob];
  };
  const has = async name => (await tools()).some(each => each.name === prefix + name);

  const steps = {
    tools: async () => (await tools()).map(each => plain(each.name)).sort(),
    titles: async () => {
      const echo = await tool('echo');
      return [echo.title ?? null, echo.description, echo.annotations?.readOnlyHint ?? null];
    },
    shape: async () => {
      const add = await tool('add');
      const out = add.outputSchema ? Object.keys(add.outputSchema.properties).sort() : null;
      return { in: Object.keys(add.inputSchema.properties).sort(), out };
    },
    echo: () => text('echo', { text: 'Grüße, 世界 🪚 \u2028' }),
    add: async () => {
      const got = await call(`${prefix}add`, { a: 2, b: 3 });
      return [got.structuredContent ?? null, got.content[0].text, got.isError ?? false];
    },
    fail: () => result('fail', {}),
    invalid: () => result('add', { a: 'two', b: 3 }),
    unknown: () => result('no_such_tool', {}),
    picture: async () => {
      const [caption, image] = (await call(`${prefix}picture`)).content;
      return [caption.text, image.type, image.mimeType, image.data];
    },
    where: () => text('where', { region: 'Zürich' }),
    work: async () => {
      const onprogress = got => ear.progress.push([got.progress, got.total ?? null, got.message ?? null]);
      await text('work', { steps: 3 }, { onprogress });
      return ear.progress;
    },
    chat: async () => {
      if (!modern) await client.setLoggingLevel('info');
      await text('chat');
      return ear.logs;
    },
    greet: () => asked('greet'),
    confirm: () => asked('confirm'),
    order: () => asked('order', { key }),
    think: () => text('think', { about: 'wood' }),
    shelves: () => text('shelves'),
    resources: async () => (await client.listResources()).resources.map(each => each.uri).sort(),
    templates: async () =>
      (await client.listResourceTemplates()).resourceTemplates.map(each => each.uriTemplate).sort(),
    read: () => read('notes://today'),
    blob: () => read('notes://logo'),
    read_template: () => read('notes://day/sun%20day'),
    missing: () => read('notes://nowhere'),
    prompts: async () =>
      (await client.listPrompts()).prompts.map(each => [
        plain(each.name),
        each.title ?? null,
        each.arguments.map(argument => [argument.name, argument.required ?? false]),
      ]),
    prompt: async () => {
      const got = await client.getPrompt({ name: `${prefix}review`, arguments: { code: 'x = 1', language: 'rust' } });
      return got.messages.map(message => [message.role, message.content.text]);
    },
    complete: async () => {
      const ofPrompt = { type: 'ref/prompt', name: `${prefix}review` };
      const ofTemplate = { type: 'ref/resource', uri: 'notes://day/{day}' };
      const first = await client.complete({ ref: ofPrompt, argument: { name: 'language', value: 'p' } });
      const second = await client.complete({ ref: ofTemplate, argument: { name: 'day', value: 't' } });
      return [first.completion.values, second.completion.values];
    },
    cancel: async () => {
      const stop = new AbortController();
      const waiting = text('wait', { key }, { signal: stop.signal }).catch(() => undefined);
      await sleep(400);
      stop.abort('enough');
      await waiting;
      for (let tries = 0; tries < 100 && (await text('outcome', { key })) !== 'cancelled'; tries += 1) await sleep(50);
      return text('outcome', { key });
    },
    listen: async () => {
      const name = `extra-${key}`;
      const unwatch = await watch('notes://today');
      ear.changes = [];
      await text('grow', { name });
      await ear.until(1);
      const grown = await has(name);
      const says = await text(name);
      await text('shrink', { name });
      await ear.until(2);
      const shrunk = !(await has(name));
      await text('touch', { uri: 'notes://today' });
      await ear.until(3);
      await unwatch();
      return [ear.changes.slice(0, 3), grown, says.replace(name, 'new'), shrunk];
    },
    after: () => text('echo', { text: 'still here' }),
  };

  const info = client.getServerVersion();
  const seen = {
    revision: revision(),
    server: info && [info.name, info.version, info.title ?? null],
    instructions: client.getInstructions() ?? null,
  };
  for (const [name, step] of Object.entries(steps)) {
    const late = sleep(SECONDS * 1000).then(() => Promise.reject(new Error('took too long')));
    late.catch(() => undefined);
    try {
      seen[name] = await Promise.race([step(), late]);
    } catch (error) {
      seen[name] =
        typeof error.code === 'number'
          ? { code: error.code, message: error.message, data: error.data ?? null }
          : { exception: `${error.name}: ${error.message}` };
    }
  }
  console.log(JSON.stringify(seen));
  await client.close();
  process.exit(0);
}
