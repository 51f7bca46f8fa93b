// Server-sent events and JSON lines, read from text that may still be arriving.

export interface StreamEvent {
  event: string;
  data: string;
}

/** Reads events out of text given piece by piece; what is not whole yet waits for the next piece. */
export class EventReader {
  private rest = "";

  /** *text* follows what was given before; *last*: nothing follows it. */
  push(text: string, last = false): StreamEvent[] {
    this.rest += text;
    const events: StreamEvent[] = [];
    const blank = /\r\n\r\n|\n\n|\r\r/g;
    let from = 0;
    for (let match = blank.exec(this.rest); match; match = blank.exec(this.rest)) {
      const event = readEvent(this.rest.slice(from, match.index));
      if (event) events.push(event);
      from = blank.lastIndex;
    }
    this.rest = this.rest.slice(from);
    if (last && this.rest.trim()) {
      const event = readEvent(this.rest);
      if (event) events.push(event);
      this.rest = "";
    }
    return events;
  }
}

function readEvent(block: string): StreamEvent | null {
  let event = "message";
  const data: string[] = [];
  for (const line of block.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/)) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "event") event = value;
    else if (name === "data") data.push(value);
  }
  return data.length ? { event, data: data.join("\n") } : null;
}

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json | undefined };

export function parse(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

const parsed = (text: string): Json[] => {
  const document = parse(text);
  return document === undefined ? [] : [document];
};

/** The JSON documents of a stream: events, or one document a line, or a JSON array of them. */
export function documents(text: string, contentType: string | null, last = true): Json[] {
  if (/event-stream/.test(contentType ?? "") || /^\s*(?:data|event|:|id|retry)/.test(text.slice(0, 40))) {
    return new EventReader().push(text, last).flatMap(({ data }) => parsed(data));
  }
  const whole = parse(text);
  if (whole !== undefined) return Array.isArray(whole) ? whole : [whole];
  return text.split("\n").flatMap((line) => (line.trim() ? parsed(line) : []));
}
