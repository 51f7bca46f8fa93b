// Every string that a person reads on the page "keys".

export const strings = {
} as const;
