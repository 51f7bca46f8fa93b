// Every string that a person reads on the page "call".

export const strings = {
} as const;
