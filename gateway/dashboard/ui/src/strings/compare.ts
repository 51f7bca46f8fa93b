// Every string that a person reads on the page "compare".

export const strings = {
} as const;
