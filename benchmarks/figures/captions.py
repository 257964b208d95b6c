"""What each figure shows, in words."""

CAPTIONS = {  # of each figure by its name: its title, and what is plotted
    "figure4": (
        "The paper's figure 4: heatmaps",
        "MetaCloth's heatmaps of one garment of a category, by the model of each benchmark in "
        "which that category is unseen, 8 shots; below, predicted and true landmarks.",
    ),
    "figure5": (
        "The paper's figure 5: landmarks of trousers",
        "Mean NE (no unit) of each landmark of trousers on B-2 at 8 shots, mirror images averaged, "
        "by learner; bars are 95% intervals over episodes.",
    ),
    "figure6": (
        "The paper's figure 6: features before and after tuning",
        "Mean cosine similarity (no unit) of landmark features on B-2, by category: (a) of the "
        "same landmark before and after tuning, (b) of different landmarks after it; bars are 95% "
        "intervals over episodes.",
    ),
    "figure_shots": (
        "Error against shots",
        "Mean NE (no unit) over a benchmark's episodes against the number of annotated photos, a "
        "line a learner, ours above and the paper's below; bars are 95% intervals over episodes.",
    ),
    "figure_ranks": (
        "Who is better, by average rank",
        "Each learner's rank by mean NE over all numbers of shots, averaged over benchmarks, "
        "farther left is better: learners whose ranks one black bar spans are not told apart at "
        "the 5% level (Friedman's and Nemenyi's tests; Demsar, 2006), and of few benchmarks few "
        "are. Benchmarks share categories, so they are fewer independent comparisons than the "
        "tests take them for, and differences look surer than they are; and a rank does not say by "
        "how much errors differ. Where controls were run all learners are ranked on those episodes "
        "alone that controls met, the first of each category; the figure says how many.",
    ),
    "figure_curves": (
        "Learning curves",
        "Training loss against the step of training, a panel a learner and a line a benchmark: "
        "means over training seeds, smoothed, without intervals. Each learner has its own loss, "
        "so heights do not compare across panels.",
    ),
    "figure_trust": (
        "Share of landmarks found against their score",
        "Landmarks of unseen categories in ten bins of equal width, a panel a learner and a line a "
        "benchmark: mean score across, share found upwards, a marker's area the share of landmarks "
        "in its bin, without intervals. On the dotted line a score is what it says; below it, it "
        "promises too much. A landmark that is not there counts as not found.",
    ),
}
ACROSS = ("figure_ranks",)  # over benchmarks: of one alone there is none
OF_THE_PAPER = ("figure4", "figure5", "figure6")  # of its benchmarks alone
BESIDE = ", ours above and the paper's below"  # of a caption, where the paper has numbers
