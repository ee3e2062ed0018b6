//! Contractions in Einstein's notation against a loop over all labels.

use vorpal_autodiff::{DType, Device, Tensor};

use crate::harness::{Array, Case, Draw, NUMBERS, Sample};

/// Labels of operands and result; sizes by label.
struct Drawn {
    equation: String,
    operands: Vec<Vec<char>>,
    output: Vec<char>,
    sizes: Vec<(char, usize)>,
    shapes: Vec<Vec<usize>>,
}

/// Labels of the axes that an ellipsis stands for, from the right.
const DOTS: [char; 2] = ['Y', 'Z'];

fn size_of(sizes: &[(char, usize)], label: char) -> usize {
    sizes.iter().find(|(l, _)| *l == label).map_or(1, |&(_, n)| n)
}

fn text(labels: &[char]) -> String {
    let mut out = String::new();
    for &l in labels {
        match l {
            _ if !DOTS.contains(&l) => out.push(l),
            _ if !out.contains("...") => out += "...",
            _ => {}
        }
    }
    out
}

/// Any equation of up to three operands: repeated labels, ellipses, axes of size 1, implicit results.
fn equation(d: &mut Draw) -> Drawn {
    let letters = ['i', 'j', 'k', 'B'];
    let mut sizes: Vec<(char, usize)> = letters.iter().map(|&l| (l, d.axis().min(3))).collect();
    sizes.extend(DOTS.iter().map(|&l| (l, d.axis().min(2))));
    let dotted = d.whole(0, 3) == 0;
    let (mut operands, mut shapes) = (Vec::new(), Vec::new());
    for _ in 0..d.whole(1, 3) {
        let mut labels: Vec<char> = (0..d.whole(0, 3)).map(|_| letters[d.whole(0, 3)]).collect();
        if dotted {
            let from = d.whole(0, 2);
            let place = d.whole(0, labels.len());
            labels.splice(place..place, DOTS[from..].iter().copied());
        }
        let shape: Vec<usize> = labels
            .iter()
            .map(|&l| {
                // A repeated label has one size in its operand.
                let once = labels.iter().filter(|&&m| m == l).count() == 1;
                if once && d.whole(0, 5) == 0 { 1 } else { size_of(&sizes, l) }
            })
            .collect();
        operands.push(labels);
        shapes.push(shape);
    }
    // A label that has size 1 everywhere has size 1.
    for (label, size) in &mut sizes {
        let found = operands.iter().zip(&shapes).flat_map(|(o, s)| o.iter().zip(s));
        let sizes: Vec<usize> = found.filter(|(l, _)| *l == label).map(|(_, &n)| n).collect();
        *size = sizes.iter().copied().find(|&n| n != 1).unwrap_or(1);
    }
    let there = |l: char| operands.iter().flatten().filter(|&&m| m == l).count();
    let mut dots: Vec<char> = DOTS.iter().copied().filter(|&l| there(l) > 0).collect();
    let written = operands.iter().map(|o| text(o)).collect::<Vec<_>>().join(", ");
    // An operand whose ellipsis stands for nothing cannot be told from one without.
    if d.whole(0, 3) == 0 && !dotted {
        let mut output: Vec<char> = letters.iter().copied().filter(|&l| there(l) == 1).collect();
        output.sort_unstable();
        return Drawn { equation: written, operands, output, sizes, shapes };
    }
    let mut output: Vec<char> = letters.iter().copied().filter(|&l| there(l) > 0 && d.flip()).collect();
    if d.flip() {
        output.reverse();
    }
    dots.extend(&output);
    if d.flip() {
        dots = output;
    }
    let equation = format!("{written} -> {}", text(&dots));
    Drawn { equation, operands, output: dots, sizes, shapes }
}

fn naive(drawn: &Drawn, x: &[Array]) -> Array {
    let sizes: Vec<usize> = drawn.sizes.iter().map(|&(_, n)| n).collect();
    let place = |at: &[usize], l: char| at[drawn.sizes.iter().position(|(m, _)| *m == l).expect("a label")];
    let shape: Vec<usize> = drawn.output.iter().map(|&l| size_of(&drawn.sizes, l)).collect();
    let mut out = Array::from_fn(&shape, |_| 0.0);
    Array::from_fn(&sizes, |at| {
        let mut value = 1.0;
        for (labels, x) in drawn.operands.iter().zip(x) {
            let clipped: Vec<usize> =
                labels.iter().zip(&x.shape).map(|(&l, &n)| if n == 1 { 0 } else { place(at, l) }).collect();
            value *= x.at(&clipped);
        }
        let index = drawn.output.iter().zip(&shape).fold(0, |sum, (&l, &n)| sum * n + place(at, l));
        out.data[index] += value;
        0.0
    });
    out
}

pub fn cases() -> Vec<Case> {
    vec![Case {
        dtypes: NUMBERS,
        ..Case::smooth("einsum", |d| {
            let drawn = equation(d);
            let operands = drawn.shapes.iter().map(|s| d.array(s, 0.0, 2.0)).collect();
            let text = drawn.equation.clone();
            let run = move |x: &[Tensor]| Tensor::einsum(&text, &x.iter().collect::<Vec<_>>());
            Sample::new(operands, run, move |x| naive(&drawn, x))
        })
    }]
}

pub fn misfits() {
    let a = Tensor::zeros([2, 3], DType::F32, &Device::cpu());
    let b = Tensor::zeros([4, 5], DType::F32, &Device::cpu());
    let wrong: [(&str, &[&Tensor], &str); 12] = [
        ("ij,jk->ik", &[&a, &b], "label 'j' has size 3 and, in operand 1, size 4"),
        ("ij,kl->ix", &[&a, &b], "output label 'x' at position 8 is in no operand"),
        ("ij->ii", &[&a], "output label 'i' at position 5 is there twice"),
        ("ijk->i", &[&a], "operand 0 has 2 axes, the equation names 3"),
        ("ij,k->i", &[&a, &b], "operand 1 has 2 axes, the equation names 1"),
        ("...ijk->i", &[&a], "operand 0 has 2 axes, the equation names at least 3"),
        ("i1->i", &[&a], "'1' at position 1 is no label"),
        ("i..->i", &[&a], "'.' at position 1 is no label"),
        ("...i...->i", &[&a], "a second ellipsis at position 4"),
        ("ij->i->j", &[&a], "'-' at position 5 is no label"),
        ("ij,jk", &[&a], "the equation names 2 operands, given 1"),
        ("ii->i", &[&a], "label 'i' has size 2 and, in operand 0, size 3"),
    ];
    for (equation, operands, text) in wrong {
        let error = Tensor::einsum(equation, operands).eval().expect_err(equation).to_string();
        assert!(error.contains(&format!("einsum: \"{equation}\": {text}")), "{error}");
        assert!(error.contains("einsum.rs:"), "{error}");
    }
    let one = Tensor::zeros([1, 3], DType::F32, &Device::cpu());
    let error = Tensor::einsum("ii", &[&one]).eval().expect_err("1 and 3").to_string();
    assert!(error.contains("label 'i' is repeated in one operand with sizes 1 and 3"), "{error}");
    assert!(Tensor::einsum("", &[]).eval().is_err());
}
