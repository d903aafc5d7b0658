// Shared by all dashboards: data sources, colours, panels with a description, rows.

import common from '@grafana/grafana-foundation-sdk/common';
import dash from '@grafana/grafana-foundation-sdk/dashboard';
import prom from '@grafana/grafana-foundation-sdk/prometheus';
import bargauge from '@grafana/grafana-foundation-sdk/bargauge';
import heatmap from '@grafana/grafana-foundation-sdk/heatmap';
import piechart from '@grafana/grafana-foundation-sdk/piechart';
import stat from '@grafana/grafana-foundation-sdk/stat';
import statetimeline from '@grafana/grafana-foundation-sdk/statetimeline';
import table from '@grafana/grafana-foundation-sdk/table';
import timeseries from '@grafana/grafana-foundation-sdk/timeseries';

// The name in grafana/provisioning/datasources.
const PROMETHEUS = { type: 'prometheus', uid: 'prometheus' };

// The port that the compose file publishes.
const JAEGER = 'http://localhost:16686';

const TAG = 'hot-partition-lab';

// Thresholds of the verdict in fair shares of the largest shard: warm, hot, critical.
export const FAIR_SHARES = [[null, 'green'], [1.2, 'yellow'], [1.5, 'orange'], [2, 'red']];
// The same thresholds as shares of the load, for four shards.
export const SHARES_OF_FOUR = [[null, 'green'], [1.2 / 4, 'yellow'], [1.5 / 4, 'orange'], [2 / 4, 'red']];

// A query; `legend` names its series.
export const ask = (expr, legend = '', more = {}) => ({ expr, legend, ...more });
// An instant query.
export const now = (expr, legend = '', more = {}) => ask(expr, legend, { instant: true, ...more });

// A metric of the kernel's verdict, or of the verdict on all gateways. While the probe has none on all gateways, the
// second one is the gateway's own.
export const KERNEL = (name) => `kernel_hot_partition_${name}`;
export const GATEWAYS = (name) => `(gateways_hot_partition_${name} or on () hot_partition_${name})`;

// The verdict as a number: see VERDICTS. Empty without a verdict.
export const verdict = (metric) => {
  const state = (name) => metric(`state{state="${name}"}`);
  const code = [`${state('balanced')}`, `2 * ${state('warm')}`, `3 * ${state('hot')}`, `4 * ${state('critical')}`];
  return `sum(${code.join(' or ')}) and on () sum(${metric('state')}) == 1`;
};
export const VERDICTS = [
  [0, 'not enough traffic', 'text'],
  [1, 'balanced', 'green'],
  [2, 'warm', 'yellow'],
  [3, 'hot', 'orange'],
  [4, 'critical', 'red'],
];

const target = (query, index) => {
  const built = new prom.DataqueryBuilder()
    .expr(query.expr)
    .legendFormat(query.legend)
    .datasource(PROMETHEUS)
    .editorMode(prom.QueryEditorMode.Code)
    .refId(String.fromCharCode(65 + index));
  if (query.instant) built.instant();
  else built.range();
  if (query.table) built.format(prom.PromQueryFormat.Table);
  return built;
};

const steps = (list) =>
  new dash.ThresholdsConfigBuilder()
    .mode(dash.ThresholdsMode.Absolute)
    .steps(list.map(([value, color]) => ({ value, color })));

const mapping = (list) => [
  {
    type: dash.MappingType.ValueToText,
    options: Object.fromEntries(list.map(([value, text, color], index) => [value, { text, color, index }])),
  },
];

// A panel's description: what it shows, what is normal, what to do next.
const describe = (title, { shows, normal, next }) => {
  if (!shows || !normal || !next) throw new Error(`panel "${title}" must say what it shows, what is normal, what next`);
  return `${shows}\n\n**Normal:** ${normal}\n\n**Next:** ${next}`;
};

// Sets the options that all kinds of panels share.
const panel = (builder, { title, about, queries, unit, width, height, thresholds, mappings, noValue, decimals, min, max, traces, overrides }) => {
  builder.title(title).description(describe(title, about)).datasource(PROMETHEUS).span(width).height(height);
  queries.forEach((query, index) => builder.withTarget(target(query, index)));
  if (unit) builder.unit(unit);
  builder.thresholds(steps(thresholds ?? [[null, 'green']]));
  if (mappings) builder.mappings(mapping(mappings));
  if (noValue) builder.noValue(noValue);
  if (decimals !== undefined) builder.decimals(decimals);
  if (min !== undefined) builder.min(min);
  if (max !== undefined) builder.max(max);
  for (const [regexp, properties] of overrides ?? []) builder.overrideByRegexp(regexp, properties);
  if (!traces) return builder;
  // A data link: from a shard's series to its traces.
  const url = `${JAEGER}/search?service=api-gateway&lookback=1h&limit=20&tags=%7B%22shard.id%22%3A%22\${__field.labels.shard_id}%22%7D`;
  const link = { title: 'Traces of shard ${__field.labels.shard_id}', url, targetBlank: true };
  return {
    build() {
      const built = builder.build();
      built.fieldConfig.defaults.links = [link];
      return built;
    },
  };
};

const coloured = (id) => new dash.FieldColorBuilder().mode(id);
const lastValue = () => new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false).fields('');

// Lines over time. Series that match `dashed` are dashed; `stacked` stacks them.
export const lines = (options) => {
  const { dashed, stacked, limits } = options;
  const builder = new timeseries.PanelBuilder()
    .colorScheme(coloured(dash.FieldColorModeId.PaletteClassicByName))
    .lineWidth(2)
    .fillOpacity(stacked ? 30 : 0)
    .showPoints(common.VisibilityMode.Never)
    .spanNulls(false)
    .legend(new common.VizLegendOptionsBuilder()
      .displayMode(common.LegendDisplayMode.Table)
      .placement(common.LegendPlacement.Bottom)
      .showLegend(true)
      .calcs(['lastNotNull', 'max']))
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending));
  if (stacked) builder.stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal).group('A'));
  if (limits) builder.thresholdsStyle(new common.GraphThresholdsStyleConfigBuilder().mode(common.GraphThresholdsStyleMode.Dashed));
  const dash_ = dashed && [[dashed, [{ id: 'custom.lineStyle', value: { fill: 'dash', dash: [10, 10] } }, { id: 'custom.lineWidth', value: 1 }]]];
  return panel(builder, { width: 8, height: 8, ...options, overrides: [...(dash_ ?? []), ...(options.overrides ?? [])] });
};

// One large value, or a name (`names: true`), for each series.
export const value = (options) => {
  const builder = new stat.PanelBuilder()
    .reduceOptions(lastValue())
    .colorMode(options.names ? common.BigValueColorMode.None : common.BigValueColorMode.Background)
    .graphMode(common.BigValueGraphMode.None)
    .textMode(options.names ? common.BigValueTextMode.Name : options.named ? common.BigValueTextMode.ValueAndName : common.BigValueTextMode.Value)
    .justifyMode(common.BigValueJustifyMode.Center)
    .orientation(common.VizOrientation.Auto)
    .colorScheme(coloured(dash.FieldColorModeId.Thresholds));
  return panel(builder, { width: 4, height: 4, ...options });
};

// A bar for each series.
export const bars = (options) => {
  const builder = new bargauge.PanelBuilder()
    .reduceOptions(lastValue())
    .displayMode(common.BarGaugeDisplayMode.Basic)
    .orientation(common.VizOrientation.Horizontal)
    .valueMode(common.BarGaugeValueMode.Color)
    .showUnfilled(true)
    .colorScheme(coloured(dash.FieldColorModeId.Thresholds));
  return panel(builder, { width: 8, height: 8, ...options });
};

// Parts of a whole.
export const pie = (options) => {
  const builder = new piechart.PanelBuilder()
    .reduceOptions(lastValue())
    .pieType(piechart.PieChartType.Donut)
    .displayLabels([piechart.PieChartLabels.Percent])
    .legend(new piechart.PieChartLegendOptionsBuilder()
      .displayMode(common.LegendDisplayMode.Table)
      .placement(common.LegendPlacement.Right)
      .showLegend(true)
      .values([piechart.PieChartLegendValues.Percent, piechart.PieChartLegendValues.Value]))
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Single).sort(common.SortOrder.None))
    .colorScheme(coloured(dash.FieldColorModeId.PaletteClassicByName));
  return panel(builder, { width: 8, height: 8, ...options });
};

// A table of instant queries. `columns` maps a label or value to its heading, in order. Other columns are hidden.
export const rows = (options) => {
  const { columns, queries, units } = options;
  const names = Object.keys(columns);
  const unwanted = ['Time', '__name__', 'instance', 'job', ...(options.without ?? [])];
  const builder = new table.PanelBuilder()
    .showHeader(true)
    .cellHeight(common.TableCellHeight.Sm)
    .colorScheme(coloured(dash.FieldColorModeId.Thresholds));
  const overrides = Object.entries(units ?? {}).map(([heading, unit]) => [`^${heading}$`, [{ id: 'unit', value: unit }]]);
  if (queries.length > 1) builder.withTransformation({ id: 'merge', options: {} });
  builder.withTransformation({
    id: 'organize',
    options: {
      excludeByName: Object.fromEntries(unwanted.map((name) => [name, true])),
      indexByName: Object.fromEntries(names.map((name, index) => [name, index])),
      renameByName: columns,
    },
  });
  const asTables = queries.map((query) => ({ ...query, instant: true, table: true }));
  return panel(builder, { width: 8, height: 8, ...options, queries: asTables, overrides: [...overrides, ...(options.overrides ?? [])] });
};

// A band for each series, coloured by `mappings`.
export const timeline = (options) => {
  const builder = new statetimeline.PanelBuilder()
    .mergeValues(true)
    .showValue(common.VisibilityMode.Auto)
    .alignValue(common.TimelineValueAlignment.Left)
    .rowHeight(0.9)
    .fillOpacity(80)
    .lineWidth(0)
    .legend(new common.VizLegendOptionsBuilder()
      .displayMode(common.LegendDisplayMode.List)
      .placement(common.LegendPlacement.Bottom)
      .showLegend(true))
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Single).sort(common.SortOrder.None))
    .colorScheme(coloured(dash.FieldColorModeId.Thresholds));
  return panel(builder, { width: 24, height: 5, ...options });
};

// A row of cells for each series; darker is more.
export const heat = (options) => {
  const builder = new heatmap.PanelBuilder()
    .calculate(false)
    .color(new heatmap.HeatmapColorOptionsBuilder()
      .mode(heatmap.HeatmapColorMode.Scheme)
      .scheme('Oranges')
      .fill('dark-orange')
      .scale(heatmap.HeatmapColorScale.Exponential)
      .exponent(0.5)
      .steps(64)
      .reverse(false))
    .rowsFrame(new heatmap.RowsHeatmapOptionsBuilder().layout(common.HeatmapCellLayout.Auto))
    .cellGap(1)
    .cellValues(new heatmap.CellValuesBuilder().unit(options.unit))
    .showValue(common.VisibilityMode.Never)
    .filterValues(new heatmap.FilterValueRangeBuilder().le(1e-9))
    .yAxis(new heatmap.YAxisConfigBuilder().axisPlacement(common.AxisPlacement.Left).reverse(false))
    .showLegend()
    .tooltip(new heatmap.HeatmapTooltipBuilder().mode(common.TooltipDisplayMode.Single).yHistogram(false).showColorScale(true))
    .scaleDistribution(new common.ScaleDistributionConfigBuilder().type(common.ScaleDistribution.Linear));
  return panel(builder, { width: 12, height: 8, ...options });
};

// Marks on the time axis while an alert fires.
const marks = (name, alerts, color) =>
  new dash.AnnotationQueryBuilder()
    .name(name)
    .datasource(PROMETHEUS)
    .enable(true)
    .hide(false)
    .iconColor(color)
    .expr(`ALERTS{alertname=~"${alerts}",alertstate="firing"}`)
    .titleFormat('{{alertname}}')
    .textFormat('{{shard_id}}')
    .tagKeys('shard_id')
    .step('5s')
    .useValueForTime(false);

const link = (title, url) =>
  new dash.DashboardLinkBuilder(title).type(dash.DashboardLinkType.Link).url(url).icon('external link').targetBlank(true);

// The alerts that are marked on the time axis: [name, alerts, colour].
const MARKED = [['Hot partition', 'HotPartition', 'red'], ['Witnesses disagree', 'KernelAndAppDisagree|VerdictsDisagree', 'purple']];

// A dashboard of rows: [title, panels]. Panels flow from left to right.
export const dashboard = ({ uid, title, about, sections, shards, marked = MARKED }) => {
  const builder = new dash.DashboardBuilder(title)
    .uid(uid)
    .description(about)
    .tags([TAG])
    .timezone('browser')
    .tooltip(dash.DashboardCursorSync.Crosshair)
    .time({ from: 'now-15m', to: 'now' })
    .refresh('5s')
    .readonly()
    .link(new dash.DashboardLinkBuilder('The lab').type(dash.DashboardLinkType.Dashboards).tags([TAG]).keepTime(true).includeVars(true))
    .link(link('Traces', `${JAEGER}/search?service=api-gateway`))
    .link(link('Alerts', 'http://localhost:9090/alerts'));
  marked.forEach((one) => builder.annotation(marks(...one)));
  if (shards) {
    builder.withVariable(new dash.QueryVariableBuilder('shard')
      .label('Shard')
      .description('Only these shards')
      .datasource(PROMETHEUS)
      .definition('label_values(shard_requests_total, shard_id)')
      .query({ qryType: 1, query: 'label_values(shard_requests_total, shard_id)', refId: 'PrometheusVariableQueryEditor-VariableQuery' })
      .refresh(dash.VariableRefresh.OnTimeRangeChanged)
      .sort(dash.VariableSort.NumericalAsc)
      .multi(true)
      .includeAll(true)
      .allValue('.*')
      .regex('')
      .options([])
      .current({ selected: true, text: ['All'], value: ['$__all'] }));
  }
  for (const [name, panels] of sections) {
    builder.withRow(new dash.RowBuilder(name));
    panels.forEach((one) => builder.withPanel(one));
  }
  const built = builder.build();
  built.panels.forEach((one, index) => { one.id = index + 1; });
  // The library sets these, and an export from Grafana does not: links belong under the title, and only interval
  // variables have steps.
  [...built.links, ...built.annotations.list].forEach((one) => { delete one.placement; });
  built.templating?.list?.forEach((one) => ['auto', 'auto_min', 'auto_count'].forEach((field) => { delete one[field]; }));
  return built;
};
