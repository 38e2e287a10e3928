use proptest::prelude::*;

use super::*;
use crate::frame::Plane;

const SIDE: u32 = 8;
const AREA: usize = (SIDE * SIDE) as usize;

/// Pictures of 8 x 8 whose values are R, G and B in 0..255.
fn config() -> PreprocessorConfig {
    PreprocessorConfig {
        do_resize: true,
        size: Size {
            height: SIDE,
            width: SIDE,
        },
        resample: 2,
        do_rescale: true,
        rescale_factor: 1.0,
        do_normalize: true,
        image_mean: [0.0; 3],
        image_std: [1.0; 3],
    }
}

fn run(frame: &Frame<'_>) -> Vec<f32> {
    run_with(&config(), frame)
}

fn run_with(config: &PreprocessorConfig, frame: &Frame<'_>) -> Vec<f32> {
    let mut pixels = vec![f32::NAN; 3 * AREA];
    Preprocessor::new(config).run(frame, &mut pixels).unwrap();
    pixels
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance, "element {index}: {a} and {b}");
    }
}

/// One colour everywhere: R, G and B of each format's pixel.
fn flat(format: Format, samples: &[u8], colour: Colour) -> [f32; 3] {
    let (width, height) = (16, 12);
    let data: Vec<Vec<u8>> = match format {
        Format::I420 => samples.iter().map(|&sample| vec![sample; 192]).collect(),
        Format::Nv12 => vec![vec![samples[0]; 192], samples[1..].repeat(48)],
        Format::Yuy2 => {
            let [y, u, v] = [samples[0], samples[1], samples[2]];
            vec![[y, u, y, v].repeat(96)]
        }
        Format::Gray8 | Format::Rgb | Format::Bgr | Format::Rgba | Format::Bgra => {
            vec![samples.repeat(192)]
        }
    };
    let stride = |index: usize| match (format, index) {
        (Format::I420, 1..) => 8,
        (Format::Nv12 | Format::I420 | Format::Gray8, _) => 16,
        (Format::Rgb | Format::Bgr, _) => 48,
        (Format::Yuy2, _) => 32,
        (Format::Rgba | Format::Bgra, _) => 64,
    };
    let planes: Vec<Plane<'_>> = data
        .iter()
        .enumerate()
        .map(|(index, data)| Plane {
            data,
            stride: stride(index),
        })
        .collect();
    let frame = Frame::new(format, width, height, &planes, colour).unwrap();
    let pixels = run(&frame);
    let first = [pixels[0], pixels[AREA], pixels[2 * AREA]];
    for (channel, plane) in pixels.chunks(AREA).enumerate() {
        close(plane, &[first[channel]; AREA], 1e-3);
    }
    first
}

#[test]
fn colours_are_those_of_the_standards() {
    let colour = |matrix, range| Colour { matrix, range };
    let limited = colour(Matrix::Bt601, Range::Limited);
    let full = colour(Matrix::Bt601, Range::Full);
    let hd = colour(Matrix::Bt709, Range::Limited);
    // The standards' codes for 8 bits: black, white, and the primaries at full saturation.
    for (yuv, colour, rgb) in [
        ([16, 128, 128], limited, [0.0, 0.0, 0.0]),
        ([235, 128, 128], limited, [255.0, 255.0, 255.0]),
        ([81, 90, 240], limited, [255.0, 0.0, 0.0]),
        ([145, 54, 34], limited, [0.0, 255.0, 0.0]),
        ([41, 240, 110], limited, [0.0, 0.0, 255.0]),
        ([63, 102, 240], hd, [255.0, 0.0, 0.0]),
        ([173, 42, 26], hd, [0.0, 255.0, 0.0]),
        ([32, 240, 118], hd, [0.0, 0.0, 255.0]),
        ([76, 85, 255], full, [255.0, 0.0, 0.0]),
        ([150, 44, 21], full, [0.0, 255.0, 0.0]),
        ([29, 255, 107], full, [0.0, 0.0, 255.0]),
        ([0, 128, 128], limited, [0.0, 0.0, 0.0]),
    ] {
        close(&flat(Format::I420, &yuv, colour), &rgb, 2.5);
        close(&flat(Format::Nv12, &yuv, colour), &rgb, 2.5);
        assert_eq!(
            flat(Format::I420, &yuv, colour),
            flat(Format::Nv12, &yuv, colour)
        );
        assert_eq!(
            flat(Format::I420, &yuv, colour),
            flat(Format::Yuy2, &yuv, colour)
        );
    }
    close(&flat(Format::Gray8, &[126], full), &[126.0; 3], 1e-3);
    close(&flat(Format::Gray8, &[235], limited), &[255.0; 3], 1e-3);
    close(
        &flat(Format::Rgb, &[10, 20, 30], full),
        &[10.0, 20.0, 30.0],
        1e-3,
    );
    close(
        &flat(Format::Bgr, &[30, 20, 10], full),
        &[10.0, 20.0, 30.0],
        1e-3,
    );
    close(
        &flat(Format::Rgba, &[10, 20, 30, 0], full),
        &[10.0, 20.0, 30.0],
        1e-3,
    );
    close(
        &flat(Format::Bgra, &[30, 20, 10, 0], full),
        &[10.0, 20.0, 30.0],
        1e-3,
    );
}

#[test]
fn values_are_normalised_by_channel() {
    let config = PreprocessorConfig {
        rescale_factor: 1.0 / 255.0,
        image_mean: [0.5, 0.4, 0.3],
        image_std: [0.5, 0.25, 0.2],
        ..config()
    };
    let data = [255, 51, 0].repeat(12);
    let pixels = run_with(&config, &Frame::rgb(4, 3, &data).unwrap());
    close(&pixels[..AREA], &[1.0; AREA], 1e-5);
    close(&pixels[AREA..2 * AREA], &[-0.8; AREA], 1e-5);
    close(&pixels[2 * AREA..], &[-1.5; AREA], 1e-5);
}

/// Pillow's bilinear: each output averages inputs under a triangle as wide as the scale.
fn reference(values: &[f32], width: usize, height: usize) -> Vec<f32> {
    let weights = |size: usize, at: usize| -> Vec<f32> {
        let scale = size as f32 / SIDE as f32;
        let (centre, support) = ((at as f32 + 0.5) * scale, scale.max(1.0));
        let raw: Vec<f32> = (0..size)
            .map(|x| (1.0 - ((x as f32 + 0.5 - centre) / support).abs()).max(0.0))
            .collect();
        let sum: f32 = raw.iter().sum();
        raw.iter().map(|weight| weight / sum).collect()
    };
    let mut out = Vec::new();
    for y in 0..SIDE as usize {
        for x in 0..SIDE as usize {
            let (rows, columns) = (weights(height, y), weights(width, x));
            let sum = (0..height).map(|r| {
                let row = &values[r * width..][..width];
                rows[r] * row.iter().zip(&columns).map(|(v, w)| v * w).sum::<f32>()
            });
            out.push(sum.sum());
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn resizing_is_pillows_bilinear(
        width in 1_u32..40,
        height in 1_u32..40,
        seed: u8,
    ) {
        let data: Vec<u8> = (0..width * height)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed)
            .collect();
        let plane = Plane { data: &data, stride: width as usize };
        let colour = Colour { range: Range::Full, ..Colour::default() };
        let frame = Frame::new(Format::Gray8, width, height, &[plane], colour).unwrap();
        let values: Vec<f32> = data.iter().map(|&value| f32::from(value)).collect();
        close(&run(&frame)[..AREA], &reference(&values, width as usize, height as usize), 1.6);
    }

    /// What lies between the end of a row and the next is never read.
    #[test]
    fn padding_is_not_seen(
        width in 1_u32..40,
        height in 1_u32..40,
        padding in 0_usize..9,
        last_row_short: bool,
        format in prop::sample::select(vec![
            Format::I420, Format::Nv12, Format::Yuy2, Format::Gray8, Format::Rgb, Format::Bgr,
            Format::Rgba, Format::Bgra,
        ]),
    ) {
        let plane = |index: usize, padding: usize, fill: u8| {
            let (columns, rows, sample) = format.plane(index, width, height);
            let row = columns as usize * sample;
            let mut data = Vec::new();
            for y in 0..rows as usize {
                data.extend((0..row).map(|x| (x * 7 + y * 13 + index * 50) as u8));
                data.extend(std::iter::repeat_n(fill, padding));
            }
            if last_row_short {
                data.truncate(data.len() - padding);
            }
            (data, row + padding)
        };
        let picture = |padding, fill| {
            let data: Vec<_> = (0..format.planes()).map(|index| plane(index, padding, fill)).collect();
            let planes: Vec<_> = data.iter().map(|(data, stride)| Plane { data, stride: *stride }).collect();
            run(&Frame::new(format, width, height, &planes, Colour::default()).unwrap())
        };
        prop_assert_eq!(picture(padding, 255), picture(0, 0));
    }
}
