// Icons, drawn after Lucide (ISC licence, see licenses.txt): 24 units square, stroked with the text's colour.

import type { SVGAttributes } from "preact";

const drawn = {
  overview: "M3 12h4l3-8 4 16 3-8h4",
  calls: "M8 6h13M8 12h13M8 18h13M3.500 6h.01M3.500 12h.01M3.500 18h.01",
  upstreams: "M4 4h16a1 1 0 0 1 1 1v5a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zM4 14h16a1 1 0 0 1 1 1v4a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1v-4a1 1 0 0 1 1-1zM7 7.500h.01M7 17h.01",
  keys: "M15.500 7.500l3 3L22 7l-3-3M21 2l-9.600 9.600M13 15.500a5.500 5.500 0 1 1-11 0a5.500 5.500 0 0 1 11 0z",
  user: "M12 12a4 4 0 1 0 0-8a4 4 0 0 0 0 8zM4 21a8 8 0 0 1 16 0",
  settings: "M4 21v-7M4 10V3M12 21v-9M12 8V3M20 21v-5M20 12V3M2 14h4M10 8h4M18 16h4",
  search: "M11 19a8 8 0 1 0 0-16a8 8 0 0 0 0 16zM21 21l-4.300-4.300",
  leave: "M9 21H5a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2h4M16 17l5-5l-5-5M21 12H9",
  sun: "M12 16a4 4 0 1 0 0-8a4 4 0 0 0 0 8zM12 2v2M12 20v2M4.900 4.900l1.400 1.400M17.700 17.700l1.400 1.400M2 12h2M20 12h2M6.300 17.700l-1.400 1.400M19.100 4.900l-1.400 1.400",
  moon: "M20.900 14.500A9 9 0 1 1 9.500 3.100a7 7 0 0 0 11.400 11.400z",
  keyboard: "M4 5h16a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2zM6 9h.01M10 9h.01M14 9h.01M18 9h.01M8 13h.01M12 13h.01M16 13h.01M8 16h8",
  queued: "M12 21a9 9 0 1 0 0-18a9 9 0 0 0 0 18zM12 7v5l3 2",
  running: "M21 12a9 9 0 1 1-6.200-8.560",
  succeeded: "M12 21a9 9 0 1 0 0-18a9 9 0 0 0 0 18zM8.500 12.200l2.400 2.400l4.600-5",
  failed: "M12 21a9 9 0 1 0 0-18a9 9 0 0 0 0 18zM15 9l-6 6M9 9l6 6",
  cancelled: "M12 21a9 9 0 1 0 0-18a9 9 0 0 0 0 18zM5.700 5.700l12.600 12.600",
  expired: "M6 2h12M6 22h12M7 2v4.500L12 12l5-5.500V2M7 22v-4.500L12 12l5 5.500V22",
  pause: "M8 5v14M16 5v14",
  play: "M6 4l14 8l-14 8z",
  close: "M18 6L6 18M6 6l12 12",
  copy: "M9 9h10a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H9a2 2 0 0 1-2-2V11a2 2 0 0 1 2-2zM3.500 15.500A2 2 0 0 1 2.500 14V4a2 2 0 0 1 2-2h10a2 2 0 0 1 1.500.700",
  check: "M20 6L9 17l-5-5",
  download: "M12 3v12M7 10.500l5 5l5-5M4 20h16",
  retry: "M3 12a9 9 0 0 1 15.300-6.400L21 8M21 3v5h-5M21 12a9 9 0 0 1-15.300 6.400L3 16M3 21v-5h5",
  replay: "M15 14l5-5l-5-5M20 9H9.500a5.500 5.500 0 0 0 0 11H13",
  compare: "M6 3v12M18 9v12M6 21a3 3 0 1 0 0-6a3 3 0 0 0 0 6zM18 9a3 3 0 1 0 0-6a3 3 0 0 0 0 6zM15 6h-3a2 2 0 0 0-2 2M9 18h3a2 2 0 0 0 2-2",
  filter: "M3 5h18l-7 8.500V20l-4-2v-4.500z",
  columns: "M4 3h16a1 1 0 0 1 1 1v16a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1zM9 3v18M15 3v18",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  left: "M15 18l-6-6l6-6",
  right: "M9 18l6-6l-6-6",
  down: "M6 9l6 6l6-6",
  up: "M18 15l-6-6l-6 6",
  back: "M19 12H5M12 19l-7-7l7-7",
  link: "M10 13a5 5 0 0 0 7.500.500l3-3a5 5 0 0 0-7-7l-1.700 1.700M14 11a5 5 0 0 0-7.500-.500l-3 3a5 5 0 0 0 7 7l1.700-1.700",
  external: "M14 4h6v6M20 4l-9 9M18 14v5a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1h5",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  warning: "M12 3.500L2.500 20h19zM12 10v4.500M12 17.500h.01",
  info: "M12 21a9 9 0 1 0 0-18a9 9 0 0 0 0 18zM12 11v5M12 8h.01",
  bolt: "M13 2L4 14h7l-1 8l9-12h-7z",
  journal: "M12 8c4.970 0 9-1.340 9-3s-4.030-3-9-3s-9 1.340-9 3s4.030 3 9 3zM3 5v14c0 1.660 4.030 3 9 3s9-1.340 9-3V5M3 12c0 1.660 4.030 3 9 3s9-1.340 9-3",
  table: "M4 4h16a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zM3 10h18M9 10v10",
  chart: "M4 4v15a1 1 0 0 0 1 1h15M8 15l3.500-4.500l3 2.500L19 8",
  tag: "M12.600 2.600A2 2 0 0 0 11.200 2H4a2 2 0 0 0-2 2v7.200a2 2 0 0 0 .6 1.400l8.700 8.700a2.400 2.400 0 0 0 3.400 0l6.600-6.600a2.400 2.400 0 0 0 0-3.400zM7.500 7.500h.01",
} as const;

export type IconName = keyof typeof drawn;

interface Props extends Omit<SVGAttributes<SVGSVGElement>, "name" | "label" | "size"> {
  name: IconName;
  /** What it says; without one the icon is decoration. */
  label?: string;
  size?: number;
}

export function Icon({ name, label, size = 16, ...rest }: Props) {
  return (
    <svg
      class={`icon icon-${name}`} width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor"
      stroke-width="2" stroke-linecap="round" stroke-linejoin="round"
      {...(label ? { role: "img" as const, "aria-label": label } : { "aria-hidden": "true" as const })}
      {...rest}
    >
      <path d={drawn[name]} />
    </svg>
  );
}
