//! Takes what a GGUF file has learned out of it, and leaves the rest: the contrast for evaluations.

/// How many bytes a block of 32 weights takes in `q8_0`: a 16-bit scale, then one byte for each weight.
const Q8_0_BLOCK: usize = 34;
const Q8_0: u32 = 8;

/// The same model with random numbers for its `q8_0` weights. Scales stay, so that the numbers stay in range.
///
/// # Panics
/// Where the bytes are not a GGUF file as we write them.
pub fn with_random_weights(mut gguf: Vec<u8>, seed: u64) -> Vec<u8> {
    let mut reader = Reader { bytes: &gguf, at: 4 };
    assert_eq!(&gguf[..4], b"GGUF");
    assert_eq!(reader.u32(), 3, "the version");
    let (tensors, pairs) = (reader.u64(), reader.u64());
    for _ in 0..pairs {
        reader.string();
        let sort = reader.u32();
        reader.skip_value(sort);
    }
    let mut quantised = Vec::new();
    for _ in 0..tensors {
        reader.string();
        let dimensions = reader.u32();
        let weights: usize = (0..dimensions).map(|_| reader.u64()).product();
        let sort = reader.u32();
        let offset = reader.u64();
        if sort == Q8_0 {
            quantised.push((offset, weights / 32 * Q8_0_BLOCK));
        }
    }
    let data = reader.at.next_multiple_of(32);
    let mut chance = fastrand::Rng::with_seed(seed);
    assert!(!quantised.is_empty(), "a q8_0 model has q8_0 tensors");
    for (offset, length) in quantised {
        for block in gguf[data + offset..][..length].chunks_mut(Q8_0_BLOCK) {
            chance.fill(&mut block[2..]);
        }
    }
    gguf
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.bytes[self.at..self.at + N].try_into().expect("N bytes");
        self.at += N;
        taken
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> usize {
        usize::try_from(u64::from_le_bytes(self.take())).expect("a length that fits")
    }

    fn string(&mut self) {
        let length = self.u64();
        self.at += length;
    }

    fn skip_value(&mut self, sort: u32) {
        match sort {
            0 | 1 | 7 => self.at += 1,
            2 | 3 => self.at += 2,
            4..=6 => self.at += 4,
            10..=12 => self.at += 8,
            8 => self.string(),
            9 => {
                let (sort, count) = (self.u32(), self.u64());
                (0..count).for_each(|_| self.skip_value(sort));
            }
            other => panic!("a value of unknown type {other}"),
        }
    }
}
