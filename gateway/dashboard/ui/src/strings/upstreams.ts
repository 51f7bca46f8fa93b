// Every string that a person reads on the page "upstreams".

export const strings = {
} as const;
