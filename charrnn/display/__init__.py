"""Everything a person looks at: what the terminal at hand can show and text made safe for it (`terminal`), text
colored by what a cell does (`activations`, in the colors of `palettes`), curves and clouds of dots (`plots`), tables
(`tables`), and the same pictures as files (`export`, with the HTML page of `page`). The functions here return strings;
`terminal.write` is the one door to a stream."""
