/** How much of something is used: a bar and the numbers. */
export function Gauge({ used, of, label }: { used: number; of: number; label: string }) {
  const share = of > 0 ? Math.min(1, used / of) : 0;
  return (
    <span class="gauge-row">
      <span class={share >= 1 ? "gauge full" : "gauge"} role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={of} aria-valuenow={Math.min(used, of)} aria-valuetext={`${used} of ${of}`}>
        <i style={{ "--share": String(share) }} />
      </span>
      <span class="gauge-numbers" aria-hidden="true">{used}<span class="muted">/{of}</span></span>
    </span>
  );
}

/** A small line without axes, for a table cell; says its last and highest value. */
export function Sparkline({ values, label }: { values: readonly number[]; label: string }) {
  const width = 88;
  const height = 22;
  const top = Math.max(...values, 0);
  if (values.length < 2 || top === 0) return <svg class="sparkline" width={width} height={height} role="img" aria-label={label}><path d={`M0 ${height - 1.5}H${width}`} /></svg>;
  const x = (at: number) => ((at / (values.length - 1)) * width).toFixed(1);
  const y = (value: number) => (height - 1.5 - (value / top) * (height - 4)).toFixed(1);
  const line = values.map((value, at) => `${at ? "L" : "M"}${x(at)} ${y(value)}`).join("");
  return (
    <svg class="sparkline" width={width} height={height} role="img" aria-label={label}>
      <path class="sparkline-area" d={`${line}L${width} ${height}L0 ${height}Z`} />
      <path d={line} />
    </svg>
  );
}
