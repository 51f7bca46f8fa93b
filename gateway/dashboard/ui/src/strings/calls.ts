// Every string that a person reads on the page "calls".

export const strings = {
} as const;
