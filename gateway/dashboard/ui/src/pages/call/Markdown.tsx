// Markdown as a model wrote it, made of elements and text nodes: marked only takes the text apart.
//
// HTML in it stays text, pictures are not fetched, and a link is followed only after its address was seen.

import { useSignal } from "@preact/signals";
import type { Tokens } from "marked";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { confirm } from "../../components/dialog";
import { strings as t } from "../../strings/call";

type Token = Tokens.Generic;

/** *text* laid out; as it is until the reader of Markdown is here, and where it cannot be read. */
export function Markdown({ text }: { text: string }) {
  const read = useSignal<Token[] | null>(null);
  useEffect(() => {
    let wanted = true;
    void import("marked").then(({ lexer }) => { if (wanted) read.value = lexer(text); }, () => undefined);
    return () => { wanted = false; };
  }, [text]);
  if (!read.value) return <div class="prose">{text}</div>;
  return <div class="markdown">{blocks(read.value)}</div>;
}

const blocks = (tokens: Token[]): ComponentChildren => tokens.map((token, at) => <Block key={at} token={token} />);

function Block({ token }: { token: Token }) {
  switch (token.type) {
    case "space": case "def": return null;
    case "heading": return <p class="md-heading" data-depth={token["depth"] as number}>{inline(token)}</p>;
    case "hr": return <hr />;
    case "code": return <pre class="data" tabIndex={0} role="region" aria-label={(token["lang"] as string) || t.chat.code}><code>{token["text"] as string}</code></pre>;
    case "blockquote": return <blockquote>{blocks(token["tokens"] as Token[])}</blockquote>;
    case "list": {
      const list = token as Tokens.List;
      const items = list.items.map((item, at) => <li key={at}>{item.task && <span>{item.checked ? "☑ " : "☐ "}</span>}{blocks(item.tokens)}</li>);
      return list.ordered ? <ol start={Number(list.start) || 1}>{items}</ol> : <ul>{items}</ul>;
    }
    case "table": {
      const table = token as Tokens.Table;
      return (
        <div class="table-scroll" tabIndex={0} role="region" aria-label={t.chat.table}>
          <table class="table">
            <thead><tr>{table.header.map((cell, at) => <th scope="col" key={at}>{spans(cell.tokens)}</th>)}</tr></thead>
            <tbody>{table.rows.map((row, y) => <tr key={y}>{row.map((cell, x) => <td key={x}>{spans(cell.tokens)}</td>)}</tr>)}</tbody>
          </table>
        </div>
      );
    }
    case "text": return <>{inline(token)}</>;
    default: return <p>{inline(token)}</p>;
  }
}

const inline = (token: Token): ComponentChildren => {
  const inner = token["tokens"] as Token[] | undefined;
  return inner ? spans(inner) : ((token["text"] as string | undefined) ?? token.raw);
};

const spans = (tokens: Token[]): ComponentChildren => tokens.map((token, at) => <Span key={at} token={token} />);

function Span({ token }: { token: Token }) {
  switch (token.type) {
    case "strong": return <strong>{inline(token)}</strong>;
    case "em": return <em>{inline(token)}</em>;
    case "del": return <del>{inline(token)}</del>;
    case "br": return <br />;
    case "codespan": return <code>{plain(token["text"] as string)}</code>;
    case "link": return <Link to={token["href"] as string}>{inline(token)}</Link>;
    case "image": return <span class="chip" title={token["href"] as string}>{t.picture((token["text"] as string) || (token["href"] as string))}</span>;
    case "html": return <>{token.raw}</>;
    case "escape": return <>{plain(token["text"] as string)}</>;
    default: return <>{token["tokens"] ? inline(token) : plain((token["text"] as string | undefined) ?? token.raw)}</>;
  }
}

/** What marked wrote for HTML, as the characters that are meant. */
const plain = (text: string): string => text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"').replaceAll("&#39;", "'").replaceAll("&amp;", "&");

function Link({ to, children }: { to: string; children: ComponentChildren }) {
  if (!/^https?:\/\//i.test(to)) return <span title={to}>{children}</span>;
  const follow = async () => {
    if (await confirm({ title: t.chat.leave, body: <p class="break-all mono">{to}</p>, yes: t.chat.openLink })) window.open(to, "_blank", "noopener,noreferrer");
  };
  return <button type="button" class="md-link" title={to} onClick={() => void follow()}>{children}</button>;
}
