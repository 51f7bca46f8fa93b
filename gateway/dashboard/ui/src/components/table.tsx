import type { ComponentChildren, HTMLAttributes } from "preact";

export interface Column<Row> {
  key: string;
  label: ComponentChildren;
  render: (row: Row) => ComponentChildren;
  /** Numbers stand at the end of their cell. */
  align?: "end";
  /** This cell names the row. */
  heading?: boolean;
  class?: string;
  title?: string;
}

interface Props<Row> {
  /** What the table shows, for those who hear it; hidden from view unless *showCaption*. */
  caption: string;
  showCaption?: boolean;
  columns: Column<Row>[];
  rows: readonly Row[];
  rowKey: (row: Row) => string;
  rowProps?: (row: Row) => HTMLAttributes<HTMLTableRowElement>;
  class?: string;
}

/** A real table. On a phone every row becomes a card: cells show their column's label. */
export function Table<Row>({ caption, showCaption, columns, rows, rowKey, rowProps, class: more }: Props<Row>) {
  return (
    <div class="table-scroll">
      <table class={["table", more].filter(Boolean).join(" ")}>
        <caption class={showCaption ? "" : "visually-hidden"}>{caption}</caption>
        <thead>
          <tr>{columns.map((column) => <th scope="col" key={column.key} class={cell(column)} title={column.title}>{column.label}</th>)}</tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={rowKey(row)} {...rowProps?.(row)}>
              {columns.map((column) =>
                column.heading
                  ? <th scope="row" key={column.key} class={cell(column)}>{column.render(row)}</th>
                  : <td key={column.key} class={cell(column)} data-label={typeof column.label === "string" ? column.label : undefined}>{column.render(row)}</td>,
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const cell = <Row,>(column: Column<Row>) => [`c-${column.key}`, column.align, column.class].filter(Boolean).join(" ");
